import { Download } from "lucide-react";
import { useRef } from "react";

import { toast } from "../../app/announce.ts";
import { api } from "../../app/tasks.ts";
import { save } from "../../components/save.ts";

const FORMATS = [["jsonl", "Log as JSON lines"], ["md", "Report as Markdown"], ["zip", "Everything, with artifacts"]] as const;

/** The log and the artifacts, to keep. */
export function ExportMenu({ taskId }: { taskId: string }) {
  const menu = useRef<HTMLDetailsElement>(null);
  const take = async (format: string) => {
    if (menu.current !== null) menu.current.open = false;
    try {
      const response = await api.fetch("GET", `api/tasks/${taskId}/export`, { query: { format } });
      save(await response.blob(), `${taskId}.${format}`);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    }
  };
  return (
    <details
      className="menu" ref={menu}
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.open = false;
      }}
    >
      <summary className="button button-plain"><Download size={16} aria-hidden="true" />Export</summary>
      <div className="menu-body">
        {FORMATS.map(([format, text]) => <button key={format} type="button" onClick={() => void take(format)}>{text}</button>)}
      </div>
    </details>
  );
}
