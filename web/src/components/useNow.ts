import { useEffect, useState } from "react";

/** Time here, told again every so often while `active`, and at once when somebody looks again. */
export function useNow(active: boolean, every = 500): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!active) return;
    const tell = () => setNow(Date.now());
    tell();
    const timer = setInterval(tell, every);
    document.addEventListener("visibilitychange", tell);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tell);
    };
  }, [active, every]);
  return now;
}
