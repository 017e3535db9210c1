// What the service sends and takes, as types: the HTTP API under <base>/podflare/v1 and nbformat 4.5.
// A leaf: imports nothing.

export type MimeBundle = Record<string, unknown>;

export interface StreamOutput {
  output_type: "stream";
  name: "stdout" | "stderr";
  text: string | string[];
}

export interface RichOutput {
  output_type: "display_data" | "execute_result" | "update_display_data";
  data: MimeBundle;
  metadata?: Record<string, unknown>;
  transient?: { display_id?: string };
  execution_count?: number | null;
}

export interface ErrorOutput {
  output_type: "error";
  ename: string;
  evalue: string;
  traceback: string[];
}

export interface ClearOutput {
  output_type: "clear_output";
  wait?: boolean;
}

export type Output = StreamOutput | RichOutput | ErrorOutput | ClearOutput;

export type CellRole = "user" | "tool" | "assistant";
export type CellStatus = "running" | "ok" | "error" | "interrupted" | "timeout" | "died";
export type TurnStatus = "running" | "ok" | "error" | "cancelled" | "limit";
export type SandboxState = "ready" | "busy" | "closing" | "closed";

// True: the public internet; false: nothing; or only these.
export type Egress = boolean | { allow: string[] };

export interface SandboxInfo {
  id: string;
  state: SandboxState;
  template: string;
  created_at: string;
  expires_at: string | null;
  last_active_at: string | null;
  title: string | null;
  egress: Egress;
  end: { reason: string; message: string; at: string } | null;
  forked_from?: ForkedFrom | null;
  merged_into?: string | null;
}

export interface ForkedFrom {
  sandbox_id: string;
  turn_id: string | null;
  at: string;
}

// One sandbox of a family, live or over.
export interface BranchInfo {
  id: string;
  forked_from: ForkedFrom | null;
  state: SandboxState;
  created_at: string;
  ended_at: string | null;
  end_reason: string | null;
  merged_into: string | null;
  title: string | null;
  n_cells?: number | null;
}

export interface FamilyInfo {
  branches: BranchInfo[]; // oldest first
  checkpoints: { turn_id: string; at: string; private_bytes: number | null }[];
}

// Something that listens in a sandbox.
export interface PortInfo {
  port: number;
  address: string;
  process: string | null;
}

export interface PortLink {
  url: string;
  expires_at: string;
}

export interface ForkAnswer {
  children: string[];
  warnings: string[];
  failures: string[];
}

export interface Value {
  type: string;
  shape: unknown;
  repr: string;
}

// What differs from one sandbox to another: what only the other has is "added".
export interface Difference {
  files: {
    added: { path: string; size: number }[];
    removed: { path: string; size: number }[];
    modified: { path: string; size: number; other_size: number }[];
    truncated: boolean;
  };
  variables: {
    added: ({ name: string } & Value)[];
    removed: ({ name: string } & Value)[];
    changed: { name: string; before: Value; after: Value }[];
    unknown: string[];
    truncated?: boolean;
  };
  cells: { summary: { added: number; removed: number; modified: number }; message?: string };
}

export interface TemplateInfo {
  name: string;
  display_name: string;
  description: string;
  default: boolean;
  state: "ready" | "loading" | "failed";
}

export interface ModelChoice {
  name: string;
  label: string;
}

export interface Capabilities {
  isolation?: string;
  models: { default: string; available: ModelChoice[] };
}

export interface TurnInfo {
  turn_id: string;
  status: TurnStatus;
  message: string;
  model: string | null;
  started_at: string | null;
  ended_at: string | null;
  usage: Usage | null;
  error?: string | null;
}

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  requests?: number;
}

export interface FileEntry {
  name: string;
  type: "file" | "directory" | "symlink" | "other";
  size: number;
  modified: string | number;
}

// One line of a turn's stream. `seq` counts from 0 per turn, `ts` is milliseconds since the epoch. Types that
// are not known are skipped, so that an older page can read a newer service.
export interface ChatEvent {
  type: string;
  data: Record<string, unknown>;
  seq: number;
  ts: number;
}

// A terminal of a sandbox, as its list tells it.
export interface TerminalInfo {
  pty_id: string;
  cmd_label: string;
  created_at_ms: number;
  exit_code: number | null; // null: it runs
}

// What a terminal said after a place, in one answer. `seq`: how many bytes it had said by the end of it.
export interface TerminalOutput {
  data_b64: string;
  seq: number;
  exit_code: number | null;
}

// One line of a terminal's stream. `seq`: how many bytes it had said by then, those of the event included.
export interface TerminalEvent {
  type: string; // pty_ready, pty_data, pty_exit, pty_error, notice, keepalive
  seq: number;
  ts: number;
  data?: unknown;
  session_id?: string;
  data_b64?: string;
  message?: string;
}

export interface NotebookCell {
  id?: string;
  cell_type: "markdown" | "code" | "raw";
  source: string | string[];
  execution_count?: number | null;
  outputs?: Output[];
  metadata?: {
    podflare_nb?: {
      role?: CellRole;
      turn_id?: string | null;
      status?: CellStatus;
      operator?: string | null;
      tool_call_id?: string | null;
      language?: string;
      notice?: boolean; // said by the service, of its turn or of the recording
      branch?: { sandbox_id: string } | null; // merged from it
      superseded_by?: { sandbox_id: string } | null; // merged since; the state has nothing of this run
    };
    execution?: Record<string, string>;
  };
}

export interface Notebook {
  cells: NotebookCell[];
  metadata?: Record<string, unknown>;
}
