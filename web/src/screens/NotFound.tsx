import { MapPinOff } from "lucide-react";
import { Link } from "wouter";

import { Empty } from "../components/Notes.tsx";
import { useTitle } from "../components/useTitle.ts";

/** An address that leads nowhere. */
export function NotFound() {
  useTitle("Not found");
  return (
    <div className="screen">
      <h1>Not found</h1>
      <Empty icon={MapPinOff} title="There is nothing at this address.">
        <Link href="/" className="button button-primary">To the dashboard</Link>
      </Empty>
    </div>
  );
}
