//! `SHOW FDS`.

use super::super::report::Scope;
use super::Table;

pub(super) static TABLE: Table = Table {
    name: "fds",
    about: "Refused: a new process takes the listening socket over and no clients, so nothing needs \
            their descriptors.",
    columns: &[],
    theirs: 0,
    scope: Scope::Sums,
    rows: |_| {
        Err("SHOW FDS is not supported: descriptors are not handed out, clients stay with their \
             process until they leave")
    },
};
