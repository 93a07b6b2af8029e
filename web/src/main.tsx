import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/shell.css";
import "./styles/screens.css";
import "./styles/viewer.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app/App.tsx";
import { watchConnection } from "./app/connection.ts";
import { watchEnds } from "./app/notices.ts";
import { applyTheme, preferences } from "./app/preferences.ts";

applyTheme(preferences.get().theme);
watchConnection();
watchEnds();

const root = document.getElementById("root");
if (root === null) throw new Error("The document has no #root.");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
