import { ArrowRight } from "lucide-react";
import { useState } from "react";
import { useLocation } from "wouter";

import { Button } from "../../components/Button.tsx";
import { keepDraft, keptDraft } from "../new/draft.ts";

/** The first sentence of a new task; agents and all else follow in the form. */
export function QuickTask() {
  const [text, setText] = useState("");
  const [, navigate] = useLocation();
  const go = () => {
    if (text.trim() !== "") keepDraft({ ...keptDraft(), description: text });
    navigate("/new");
  };
  return (
    <form
      className="card quick"
      onSubmit={(event) => {
        event.preventDefault();
        go();
      }}
    >
      <textarea
        aria-label="New task" rows={1} placeholder="What is to be done?" value={text} onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey) return;
          event.preventDefault();
          go();
        }}
      />
      <Button type="submit" kind="primary">New task<ArrowRight size={16} aria-hidden="true" /></Button>
    </form>
  );
}
