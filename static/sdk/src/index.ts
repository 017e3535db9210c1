// podflare-nb: sandboxes that run code as notebook cells. Speaks the HTTP interface through fetch; needs nothing else.

export { Fork } from "./fork.js";
export { Client } from "./client.js";
export type { CallOptions, ConnectionOptions } from "./connection.js";
export { type ChatOptions, ChatTurn } from "./conversation.js";
export {
  CodeError,
  ConflictError,
  ConnectionLostError,
  ForbiddenError,
  GoneError,
  InvalidArgumentError,
  IsolationError,
  MergedError,
  NoCapacityError,
  NotFoundError,
  PodflareError,
  QuotaExceededError,
  ServiceUnreachableError,
  StreamBrokenError,
  TimedOutError,
  TooLargeError,
  UnauthenticatedError,
  UnexpectedAnswerError,
} from "./errors.js";
export type { InstallResult, Provenance, RunOptions } from "./execution.js";
export { type FileContent, Files } from "./files.js";
export {
  ExecResult,
  type ExecStatus,
  type ExecutionError,
  type Image,
  type MimeBundle,
  type Notice,
  type OutputCallbacks,
  Result,
} from "./result.js";
export { type ExportFormat, Sandbox, type SandboxOptions } from "./sandbox.js";
export { Terminal, type TerminalOptions, Terminals } from "./terminals.js";
export { type Turn, TurnCell } from "./turns.js";
export type {
  BranchInfo,
  Capabilities,
  CellOutput,
  ChatEvent,
  CheckpointInfo,
  Diff,
  Egress,
  ExecEvent,
  FileInfo,
  Language,
  ManagerResult,
  NetworkConnection,
  NetworkInfo,
  Notebook,
  RefusedConnection,
  SandboxInfo,
  TemplateInfo,
  PortInfo,
  PortLink,
  TerminalInfo,
  TurnInfo,
} from "./wire.js";
