// What goes over the wire, by short names: the schemas of docs/openapi.json, from which `openapi.ts` is generated.

import type { components } from "./openapi.js";

type Schemas = components["schemas"];

export type CreateBody = Schemas["CreateSandbox"];
export type PatchBody = Schemas["PatchSandbox"];
export type ExecBody = Schemas["Exec"];
export type InstallBody = Schemas["InstallPackages"];
export type ForkBody = Schemas["Fork"];
export type ChatBody = Schemas["ChatMessage"];
export type RecordBody = Schemas["Record"];
export type TerminalBody = Schemas["CreateTerminal"];

/** The state of a sandbox. Times are ISO 8601 in UTC, durations are seconds. */
export type SandboxInfo = Schemas["SandboxInfo"];
/** True: the public internet; false: nothing; or host names, `*.` names, addresses and ranges, with `:port` or without. */
export type Egress = SandboxInfo["egress"] & {};
export type NetworkInfo = Schemas["NetworkInfo"];
/** A connection that a sandbox made or was refused. */
export type NetworkConnection = Schemas["NetworkConnection"];
/** A connection that was refused while code ran, with the reason as a sentence. */
export type RefusedConnection = Schemas["RefusedConnection"];
export type SandboxPage = Schemas["SandboxPage"];
export type Capabilities = Schemas["Capabilities"];
export type TemplateInfo = Schemas["TemplateInfo"];
export type BranchList = Schemas["BranchList"];
export type BranchInfo = Schemas["BranchInfo"];
export type CheckpointInfo = Schemas["CheckpointInfo"];
export type ForkResult = Schemas["ForkResult"];
export type RewindResult = Schemas["RewindResult"];
/** How two sandboxes differ: what the other has and this one has not is added. */
export type Diff = Schemas["DiffResult"];
export type DirectoryListing = Schemas["DirectoryListing"];
export type FileInfo = Schemas["FileEntry"];
export type FileWritten = Schemas["FileWritten"];
export type Notebook = Schemas["Notebook"];
export type RecordedCell = Schemas["RecordedCell"];
export type TurnInfo = Schemas["TurnInfo"];
export type PortInfo = Schemas["PortInfo"];
export type PortLink = Schemas["PortLink"];
export type TerminalInfo = Schemas["TerminalInfo"];
export type TerminalOutput = Schemas["TerminalOutput"];
export type TerminalEvent = Schemas["TerminalEvent"];

/** An event of a run; the last is `exit`. A newer service may send types that are not listed here: skip them. */
export type ExecEvent = Schemas["ExecEvent"];
export type ExitEvent = Schemas["ExitEvent"];
export type InstallExitEvent = Schemas["InstallExitEvent"];
/** How a package manager ended; skipped: one before it had failed. */
export type ManagerResult = Schemas["ManagerResult"];
export type OutputEvent = Schemas["ResultEvent"] | Schemas["DisplayEvent"];

/** An event of a turn; the last is `turn-end`. A newer service may send types that are not listed here: skip them. */
export type ChatEvent = Schemas["ChatEvent"];
export type CellStart = Schemas["CellStart"];
/** An output of a cell, as in nbformat. */
export type CellOutput = Schemas["CellOutput"]["output"];
export type Usage = Schemas["Usage"];

export type Language = "python" | "bash";
