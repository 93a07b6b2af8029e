// Terminal sequences: CSI, OSC (titles, links), and the shorter ones.
// biome-ignore lint: control characters are the point
const ANSI = /\u001B(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001B]*(?:\u0007|\u001B\\)?|[PX^_][^\u001B]*(?:\u001B\\)?|[ -/]*[0-~])|\u009B[0-?]*[ -/]*[@-~]/g;
const CONTROL = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g;
// What turns the direction of the text around it, so that it reads as something it is not.
const BIDI = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/g;

/**
 * Text of an agent as it may be shown: without terminal sequences, control characters, and marks that
 * turn the direction of what stands around it. What is stored and downloaded stays as it was.
 */
export function plain(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(ANSI, "").replace(/\r/g, "\n").replace(CONTROL, "").replace(BIDI, "");
}
