//! The SQLSTATEs that pgherd sends or decides by.
//!
//! Source: PostgreSQL manual, appendix "PostgreSQL Error Codes".

/// `00000` success: the code of notices that warn of nothing.
pub const SUCCESS: &str = "00000";
/// `01000` warning: also the code of our own notices.
pub const WARNING: &str = "01000";
/// `08000` connection exception.
pub const CONNECTION_EXCEPTION: &str = "08000";
/// `08001` pgherd could not reach a node.
pub const CANNOT_CONNECT: &str = "08001";
/// `08006` a connection to a node was lost.
pub const CONNECTION_FAILURE: &str = "08006";
/// `08007` a connection was lost between COMMIT and its answer.
pub const TRANSACTION_UNKNOWN: &str = "08007";
/// `08P01` the peer broke the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// `0A000` not supported here; also "cached plan must not change result type".
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// `22023` a parameter has a value that there is not.
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// `25006` a write on a read-only node.
pub const READ_ONLY_TRANSACTION: &str = "25006";
/// `25P03` a transaction was open for too long without a statement.
pub const IDLE_IN_TRANSACTION: &str = "25P03";
/// `25P04` a transaction was open for too long.
pub const TRANSACTION_TIMEOUT: &str = "25P04";
/// `26000` no such prepared statement.
pub const INVALID_STATEMENT_NAME: &str = "26000";
/// `28000` login refused.
pub const INVALID_AUTHORIZATION: &str = "28000";
/// `28P01` wrong password.
pub const INVALID_PASSWORD: &str = "28P01";
/// `3D000` no such database.
pub const NO_SUCH_DATABASE: &str = "3D000";
/// `34000` no such portal.
pub const INVALID_CURSOR_NAME: &str = "34000";
/// `40001` serialization failure: safe to run again.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// `40P01` deadlock: safe to run again.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// `42601` not the grammar.
pub const SYNTAX_ERROR: &str = "42601";
/// `42P03` a portal of that name exists already.
pub const DUPLICATE_CURSOR: &str = "42P03";
/// `42P05` a prepared statement of that name exists already.
pub const DUPLICATE_STATEMENT: &str = "42P05";
/// `53200` out of memory.
pub const OUT_OF_MEMORY: &str = "53200";
/// `53300` too many connections.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// `53400` as much is kept as may be.
pub const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
/// `54000` a limit of pgherd was exceeded.
pub const LIMIT_EXCEEDED: &str = "54000";
/// `55000` what is asked for cannot be had in the present state.
pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// `57014` query cancelled.
pub const QUERY_CANCELED: &str = "57014";
/// `57P01` the server is shutting down.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// `57P02` another backend crashed.
pub const CRASH_SHUTDOWN: &str = "57P02";
/// `57P03` the server is starting up or not accepting connections.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// `57P05` a session was idle for too long.
pub const IDLE_SESSION: &str = "57P05";
/// `F0000` the settings cannot be read.
pub const CONFIG_FILE_ERROR: &str = "F0000";
/// `XX000` internal error.
pub const INTERNAL_ERROR: &str = "XX000";
