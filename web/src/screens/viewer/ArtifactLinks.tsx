import { Download } from "lucide-react";

import { toast } from "../../app/announce.ts";
import { api } from "../../app/tasks.ts";
import type { ArtifactInfo } from "../../client/wire.ts";
import { bytes } from "../../components/format.ts";
import { plain } from "../../components/plain.ts";
import { save } from "../../components/save.ts";

/** Where a file of an agent is. */
export const artifactPath = (taskId: string, role: string, name: string): string =>
  `api/tasks/${taskId}/artifacts/${role}/${encodeURIComponent(name)}`;

/** Fetch a file with the token and hand it to the browser. */
export async function download(taskId: string, role: string, name: string): Promise<void> {
  try {
    save(await api.blob(artifactPath(taskId, role, name)), name.split(/[\\/]/).pop() ?? name);
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "error");
  }
}

/** The files of an agent. */
export function ArtifactLinks({ taskId, role, artifacts }: { taskId: string; role: string; artifacts: readonly ArtifactInfo[] }) {
  if (artifacts.length === 0) return null;
  return (
    <ul className="artifact-links">
      {artifacts.map((artifact) => (
        <li key={artifact.name}>
          <button type="button" className="button button-quiet" onClick={() => void download(taskId, role, artifact.name)}>
            <Download size={14} aria-hidden="true" />
            <span className="clip">{plain(artifact.name)}</span>
            <span className="muted small">{bytes(artifact.size)}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}
