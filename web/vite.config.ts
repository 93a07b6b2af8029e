import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `base: "./"` with the <base> element the server writes: the page works below any path, so an
// application that mounts Poststream gets it too. Nothing is inlined: the policy forbids it.
export default defineConfig({
  base: "./",
  plugins: [react()],
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  build: {
    outDir: process.env.PAGE_OUT ?? "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "THIRD_PARTY_LICENSES.md" },
  },
});
