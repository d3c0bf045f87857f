use pgherd_lab::hostile::{Edit, each_seed, edited, write_seeds};
use proptest::prelude::*;

use super::sql;

const RIGHT: [(&str, &str); 14] = [
    ("select", "SELECT a, count(*) FROM t WHERE b = $1 GROUP BY a ORDER BY 2 LIMIT 10"),
    ("join", "select * from a join b using (id) left join c on c.x = b.y where a.z in (1, 2)"),
    ("with", "with moved as (delete from t returning *) insert into u select * from moved"),
    ("window", "select rank() over (partition by a order by b rows 2 preceding) from t for update"),
    ("set", "set local search_path = a, \"$user\"; set app.tenant to '7'"),
    ("set-config", "select set_config('app.tenant', $1, false), pg_advisory_lock(1)"),
    ("temporary", "create temp table t (a int primary key, b text[] default '{}') on commit drop"),
    ("copy", "copy t (a, b) from stdin with (format csv, header)"),
    ("block", "do $$ begin perform 1; end $$"),
    ("call", "call p(1, 'two'); begin isolation level serializable read only; commit"),
    (
        "quotes",
        "select E'\\xff', U&'\\00e9', $x$ ; $x$, 'it''s' -- comment\n/* and /* another */ */",
    ),
    ("prepare", "prepare p (int) as select $1; execute p(1); deallocate all; discard all"),
    ("listen", "listen a; notify a, 'b'; declare c cursor with hold for select 1; fetch all c"),
    ("merge", "merge into t using s on t.a = s.a when matched then update set b = 1"),
];

fn right() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    RIGHT.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec()))
}

#[test]
fn each_seed_holds() {
    write_seeds("sql", right());
    each_seed("sql", sql);
}

proptest! {
    #[test]
    fn texts_that_were_changed_hold(
        text in prop::sample::select(right().map(|(_, text)| text).collect::<Vec<_>>()),
        edits in prop::collection::vec(any::<Edit>(), 0..8),
    ) {
        sql(&edited(&text, &edits));
    }
}
