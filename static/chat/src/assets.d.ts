declare module "*.css";

// Bundled as text: see build.mjs.
declare module "@xterm/xterm/css/xterm.css" {
  const text: string;
  export default text;
}
