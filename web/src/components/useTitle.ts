import { useEffect } from "react";

import { plain } from "./plain.ts";

/** The name of the browser's tab. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title === "" ? "Poststream" : `${plain(title)} · Poststream`;
  }, [title]);
}
