import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";

import { plain } from "./plain.ts";

const COMPONENTS: Components = {
  // A link leaves this page, tells nobody where from, and cannot reach back.
  a: ({ href, children }) => (href ? <a href={href} target="_blank" rel="noopener noreferrer nofollow">{children}</a> : <span>{children}</span>),
  // A picture would tell a stranger who reads this, and the policy would not load it.
  img: ({ src, alt }) => (typeof src === "string" && src !== "" ? <a href={src} target="_blank" rel="noopener noreferrer nofollow">Picture: {alt || src}</a> : <span>{alt}</span>),
  // Headings of an agent stand below those of the page.
  h1: ({ children }) => <h3>{children}</h3>,
  h2: ({ children }) => <h4>{children}</h4>,
  h3: ({ children }) => <h5>{children}</h5>,
  h4: ({ children }) => <h6>{children}</h6>,
  h5: ({ children }) => <h6>{children}</h6>,
  table: ({ children }) => <div className="table-scroll" tabIndex={0} role="region" aria-label="Table"><table>{children}</table></div>,
  input: ({ checked }) => <span role="img" aria-label={checked ? "done" : "open"}>{checked ? "☑" : "☐"}</span>,
  pre: ({ children }) => <pre tabIndex={0}>{children}</pre>,
};

/**
 * Text of an agent as Markdown, made of React elements: HTML in it stays text, `javascript:` and the
 * like are no links, nothing is loaded from anywhere.
 */
export default function Markdown({ text }: { text: string }) {
  return (
    <div className="markdown" dir="auto">
      <ReactMarkdown remarkPlugins={[remarkGfm]} components={COMPONENTS}>{plain(text)}</ReactMarkdown>
    </div>
  );
}
