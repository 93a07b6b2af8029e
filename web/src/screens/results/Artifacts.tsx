import { Download, Eye, File } from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";

import { api } from "../../app/tasks.ts";
import type { Snapshot } from "../../client/snapshot.ts";
import type { ArtifactInfo } from "../../client/wire.ts";
import { Button, IconButton } from "../../components/Button.tsx";
import { Dialog } from "../../components/Dialog.tsx";
import { bytes } from "../../components/format.ts";
import { Failure, Loading } from "../../components/Notes.tsx";
import { plain } from "../../components/plain.ts";
import { artifactPath, download } from "../viewer/ArtifactLinks.tsx";

const Markdown = lazy(() => import("../../components/Markdown.tsx"));

const MAX_SHOWN = 512 * 1024; // a text of this size is read by nobody to its end
const PICTURES = /^image\/(png|jpeg|gif|webp|avif|svg\+xml)\b/; // an <img> runs nothing, SVG included
const TEXTS = /^(text\/|application\/(json|xml|javascript|x-ndjson|toml|yaml|x-yaml|x-sh))/;

interface Shown extends ArtifactInfo {
  role: string;
}

/** The files of all agents, with a look into them. */
export function Artifacts({ task }: { task: Snapshot }) {
  const [shown, setShown] = useState<Shown>();
  const files = task.agents.flatMap((agent) => (agent.artifacts ?? []).map((artifact) => ({ ...artifact, role: agent.agentRole, by: agent.agentName })));
  return (
    <section className="card artifacts" aria-labelledby="artifacts">
      <h2 id="artifacts">Artifacts</h2>
      {files.length === 0 ? <p className="muted">No files.</p> : (
        <ul>
          {files.map((file) => (
            <li key={`${file.role}/${file.name}`} className="artifact">
              <File size={16} aria-hidden="true" />
              <span className="artifact-name"><span className="clip" title={plain(file.name)}>{plain(file.name)}</span><span className="muted small">{file.by} · {bytes(file.size)}</span></span>
              {canShow(file) && <IconButton icon={Eye} label={`Preview ${plain(file.name)}`} onClick={() => setShown(file)} />}
              <IconButton icon={Download} label={`Download ${plain(file.name)}`} onClick={() => void download(task.taskId, file.role, file.name)} />
            </li>
          ))}
        </ul>
      )}
      {shown !== undefined && <Preview taskId={task.taskId} file={shown} onClose={() => setShown(undefined)} />}
    </section>
  );
}

function canShow(file: ArtifactInfo): boolean {
  return PICTURES.test(file.mediaType) || TEXTS.test(file.mediaType);
}

function Preview({ taskId, file, onClose }: { taskId: string; file: Shown; onClose: () => void }) {
  return (
    <Dialog title={plain(file.name)} onClose={onClose} wide>
      <Content taskId={taskId} file={file} />
      <div className="dialog-actions">
        <Button icon={Download} onClick={() => void download(taskId, file.role, file.name)}>Download</Button>
        <Button kind="primary" onClick={onClose}>Close</Button>
      </div>
    </Dialog>
  );
}

/** Text as text, pictures as pictures; nothing of it is ever a document of this page. */
function Content({ taskId, file }: { taskId: string; file: Shown }) {
  const [content, setContent] = useState<{ text: string } | { url: string }>();
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    let url: string | undefined;
    let gone = false;
    const read = async () => {
      const blob = await api.blob(artifactPath(taskId, file.role, file.name));
      if (gone) return;
      if (PICTURES.test(file.mediaType)) {
        url = URL.createObjectURL(blob);
        setContent({ url });
      } else setContent({ text: await blob.slice(0, MAX_SHOWN).text() });
    };
    read().catch(setError);
    return () => {
      gone = true;
      if (url !== undefined) URL.revokeObjectURL(url);
    };
  }, [taskId, file]);
  if (error !== undefined) return <Failure error={error} />;
  if (content === undefined) return <Loading />;
  if ("url" in content) return <img className="preview-picture" src={content.url} alt={plain(file.name)} />;
  const isMarkdown = /markdown/.test(file.mediaType) || /\.(md|markdown)$/i.test(file.name);
  return (
    <div className="preview-text" tabIndex={0} role="region" aria-label="Content">
      {isMarkdown ? <Suspense fallback={<Loading />}><Markdown text={content.text} /></Suspense> : <pre className="source">{plain(content.text)}</pre>}
      {file.size > MAX_SHOWN && <p className="muted small">The rest is in the download.</p>}
    </div>
  );
}
