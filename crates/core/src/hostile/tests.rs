use pgherd_lab::hostile::{Edit, each_seed, edited, write_seeds};
use proptest::prelude::*;

use super::{hba, ident, ini, pairs, sql, userlist};

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

/// A fuzz target, what has to hold, and its seeds by name.
type Files = (&'static str, fn(&[u8]), &'static [(&'static str, &'static str)]);

/// Files of PgBouncer.
const FILES: [Files; 5] = [
    (
        "pgbouncer_ini",
        ini,
        &[
            (
                "whole",
                "; comment\n%include empty\n[databases]\nshop = host=10.0.0.1 port=5432\n* =\n\
                 [pgbouncer]\nlisten_port = 6432\r\n  pool_mode=transaction \n[users]\n\
                 \"a b\" = pool_mode=session\n[peers]\n1 = host=/tmp",
            ),
            ("include", "[pgbouncer] listen_port = 1\n%include itself\n"),
        ],
    ),
    (
        "pgbouncer_pairs",
        pairs,
        &[("pairs", "host=a,b port = 1 password='it''s a secret' connect_query='select ''1'''")],
    ),
    (
        "userlist",
        userlist,
        &[
            ("plain", "; ours\n\"app\" \"pa\"\"ss\" and more\n\n \"none\" \"\"\n"),
            ("md5", "\"app\" \"md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""),
            (
                "scram",
                "\"app\" \"SCRAM-SHA-256$4096:c2FsdHNhbHQ=$\
                 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
            ),
        ],
    ),
    (
        "hba",
        hba,
        &[
            (
                "rules",
                "# who\nlocal all all peer map=m\nhost a,sameuser \"all\", b 10.0.0.0/8 md5\n\
                 hostssl @dbs all 10.0.0.1 255.255.255.0 cert map=m\nhost all all all reject\n",
            ),
            ("six", "hostnossl replication all 2001:db8::/32 scram-sha-256 # end"),
        ],
    ),
    ("ident", ident, &[("maps", "m /^(.*)@example\\.com$ \\1\nm root all # end\nm \"a b\" c")]),
];

#[test]
fn each_seed_holds() {
    write_seeds("sql", right());
    each_seed("sql", sql);
    for (target, holds, seeds) in FILES {
        write_seeds(target, seeds.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())));
        each_seed(target, holds);
    }
}

proptest! {
    #[test]
    fn texts_that_were_changed_hold(
        text in prop::sample::select(right().map(|(_, text)| text).collect::<Vec<_>>()),
        edits in prop::collection::vec(any::<Edit>(), 0..8),
    ) {
        sql(&edited(&text, &edits));
    }

    #[test]
    fn files_that_were_changed_hold(
        at in any::<prop::sample::Index>(),
        edits in prop::collection::vec(any::<Edit>(), 0..8),
    ) {
        let all: Vec<_> = FILES
            .iter()
            .flat_map(|(_, holds, seeds)| seeds.iter().map(move |(_, text)| (holds, text)))
            .collect();
        let (holds, text) = all[at.index(all.len())];
        holds(&edited(text.as_bytes(), &edits));
    }
}
