//! The console: what an administrator asks and orders over the PostgreSQL protocol.
//!
//! In: what a client says that has logged in to the database `pgbouncer` or `pgherd`; what each core
//! tells of itself ([`Report`]). Out: tables, and orders for the cores.
//!
//! | file       | holds                                                              |
//! |------------|--------------------------------------------------------------------|
//! | `grammar`  | a text, statement by statement                                     |
//! | `commands` | what a statement means                                             |
//! | `console`  | the session: both query protocols                                  |
//! | `table`    | columns, values, and how rows travel                               |
//! | `show`     | every table, a file for each                                       |
//! | `live`     | settings that are changed while pgherd runs                        |
//! | `orders`   | what a core is to do                                               |
//! | `report`   | what a core tells                                                  |
//! | `state`    | what consoles know of the process                                  |
//! | `reference`| every table, for people                                            |
//!
//! All of it is pure. What asks the cores and carries orders out is in
//! `crate::reactor::clients::console`.

mod commands;
pub(crate) mod console;
mod grammar;
mod live;
mod orders;
pub mod reference;
mod reload;
pub(crate) mod report;
pub(crate) mod show;
mod state;
mod table;

pub(crate) use commands::{Command, Shutdown};
pub use console::Rights;
pub(crate) use live::Live;
pub use orders::Order;
pub use reload::Reloaded;
pub use report::{Report, Scope};
pub use state::Admin;
pub(crate) use state::Pause;

/// The databases that are consoles.
pub const DATABASES: [&str; 2] = ["pgbouncer", "pgherd"];
