import "./styles/tokens.css";
import "./styles/base.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app/App.tsx";

const root = document.getElementById("root");
if (root === null) throw new Error("The document has no #root.");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
