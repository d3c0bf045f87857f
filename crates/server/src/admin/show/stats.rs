//! `SHOW STATS`, and what is shown of it alone: `STATS_TOTALS`, `STATS_AVERAGES`, `TOTALS`.

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, numeric, text};
use super::Table;
use super::view::{TallySum, View, micros};
use crate::reactor::Tally;

pub(super) static TABLE: Table = Table {
    name: "stats",
    about: "What was done for a database: totals since the start, and averages of the last minute \
            or two.",
    columns: &COLUMNS,
    theirs: 25,
    scope: Scope::Sums,
    rows: |view| {
        Ok(by_database(view, |sum| {
            let requests = Cell::from(sum.total.queries);
            totals(&sum.total).into_iter().chain(averages(sum)).chain([requests]).collect()
        }))
    },
};

pub(super) static TOTALS_TABLE: Table = Table {
    name: "stats_totals",
    about: "The totals of `SHOW STATS`.",
    columns: &TOTALS_COLUMNS,
    theirs: 13,
    scope: Scope::Sums,
    rows: |view| Ok(by_database(view, |sum| totals(&sum.total).into())),
};

pub(super) static AVERAGES_TABLE: Table = Table {
    name: "stats_averages",
    about: "The averages of `SHOW STATS`.",
    columns: &AVERAGES_COLUMNS,
    theirs: 13,
    scope: Scope::Sums,
    rows: |view| Ok(by_database(view, |sum| averages(sum).into())),
};

pub(super) static ALL_TABLE: Table = Table {
    name: "totals",
    about: "`SHOW STATS` for all databases together.",
    columns: &ALL_COLUMNS,
    theirs: 2,
    scope: Scope::Sums,
    rows: all,
};

const COLUMNS: [Column; 26] = [
    text("database", "The database, as clients call it."),
    numeric("total_server_assignment_count", "Backends lent to clients."),
    numeric("total_xact_count", "Transactions."),
    numeric("total_query_count", "Batches answered: a Query each, or all up to a Sync."),
    numeric("total_received", "Bytes from clients that were passed on."),
    numeric("total_sent", "Bytes from nodes that were passed on."),
    numeric("total_xact_time", "Microseconds that transactions took."),
    numeric("total_query_time", "Microseconds that batches took."),
    numeric("total_wait_time", "Microseconds that clients waited for a backend."),
    numeric("total_client_parse_count", "Statements that clients have prepared."),
    numeric("total_server_parse_count", "Statements that were prepared at nodes."),
    numeric("total_bind_count", "Prepared statements that were bound."),
    numeric("total_client_login_count", "Clients that have logged in."),
    numeric("avg_server_assignment_count", "Each second."),
    numeric("avg_xact_count", "Each second."),
    numeric("avg_query_count", "Each second."),
    numeric("avg_recv", "Bytes each second."),
    numeric("avg_sent", "Bytes each second."),
    numeric("avg_xact_time", "Microseconds for a transaction."),
    numeric("avg_query_time", "Microseconds for a batch."),
    numeric("avg_wait_time", "Microseconds for each time that a backend was lent."),
    numeric("avg_client_parse_count", "Each second."),
    numeric("avg_server_parse_count", "Each second."),
    numeric("avg_bind_count", "Each second."),
    numeric("avg_client_login_count", "Each second."),
    numeric(
        "total_requests",
        "`total_query_count` under the name it had before PgBouncer 1.8, which Debian's \
         prometheus-pgbouncer-exporter asks for.",
    ),
];

const TOTALS_COLUMNS: [Column; 13] = [
    text("database", "The database, as clients call it."),
    numeric("server_assignment_count", "`total_server_assignment_count`."),
    numeric("xact_count", "`total_xact_count`."),
    numeric("query_count", "`total_query_count`."),
    numeric("bytes_received", "`total_received`."),
    numeric("bytes_sent", "`total_sent`."),
    numeric("xact_time", "`total_xact_time`."),
    numeric("query_time", "`total_query_time`."),
    numeric("wait_time", "`total_wait_time`."),
    numeric("client_parse_count", "`total_client_parse_count`."),
    numeric("server_parse_count", "`total_server_parse_count`."),
    numeric("bind_count", "`total_bind_count`."),
    numeric("client_login_count", "`total_client_login_count`."),
];

const AVERAGES_COLUMNS: [Column; 13] = [
    text("database", "The database, as clients call it."),
    numeric("server_assignment_count", "`avg_server_assignment_count`."),
    numeric("xact_count", "`avg_xact_count`."),
    numeric("query_count", "`avg_query_count`."),
    numeric("bytes_received", "`avg_recv`."),
    numeric("bytes_sent", "`avg_sent`."),
    numeric("xact_time", "`avg_xact_time`."),
    numeric("query_time", "`avg_query_time`."),
    numeric("wait_time", "`avg_wait_time`."),
    // So they are called in PgBouncer.
    numeric("avg_client_parse_count", "`avg_client_parse_count`."),
    numeric("avg_server_parse_count", "`avg_server_parse_count`."),
    numeric("avg_bind_count", "`avg_bind_count`."),
    numeric("avg_client_login_count", "`avg_client_login_count`."),
];

const ALL_COLUMNS: [Column; 2] =
    [text("name", "`total_` or `avg_`, and what is counted."), numeric("value", "Its value.")];

/// What is counted, as `SHOW TOTALS` calls it.
const COUNTED: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

fn totals(tally: &Tally) -> [Cell; 12] {
    [
        tally.assignments,
        tally.transactions,
        tally.queries,
        tally.received,
        tally.sent,
        tally.transaction_nanos / 1000,
        tally.query_nanos / 1000,
        tally.wait_nanos / 1000,
        tally.client_parses,
        tally.server_parses,
        tally.binds,
        tally.logins,
    ]
    .map(Cell::from)
}

fn averages(sum: &TallySum) -> [Cell; 12] {
    let TallySum { recent, over, .. } = sum;
    let each_second = |count: u64| match micros(*over) {
        0 => 0,
        over => u128::from(count) * 1_000_000 / u128::from(over),
    };
    let each_second = |count| u64::try_from(each_second(count)).unwrap_or(u64::MAX);
    let each = |nanos: u64, count: u64| (nanos / 1000).checked_div(count).unwrap_or(0);
    [
        each_second(recent.assignments),
        each_second(recent.transactions),
        each_second(recent.queries),
        each_second(recent.received),
        each_second(recent.sent),
        each(recent.transaction_nanos, recent.transactions),
        each(recent.query_nanos, recent.queries),
        each(recent.wait_nanos, recent.assignments),
        each_second(recent.client_parses),
        each_second(recent.server_parses),
        each_second(recent.binds),
        each_second(recent.logins),
    ]
    .map(Cell::from)
}

fn by_database(view: &View<'_>, values: impl Fn(&TallySum) -> Vec<Cell>) -> Vec<Row> {
    let tallies = view.tallies().into_iter();
    tallies.map(|(database, sum)| [vec![database.into()], values(&sum)].concat()).collect()
}

fn all(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let mut sum = TallySum::default();
    for of_one in view.tallies().into_values() {
        sum.total.add(&of_one.total);
        sum.recent.add(&of_one.recent);
        sum.over = sum.over.max(of_one.over);
    }
    let named = |lead: &'static str, values: [Cell; 12]| {
        let names = COUNTED.into_iter().map(move |name| Cell::from(format!("{lead}{name}")));
        names.zip(values).map(|(name, value)| vec![name, value])
    };
    Ok(named("total_", totals(&sum.total)).chain(named("avg_", averages(&sum))).collect())
}
