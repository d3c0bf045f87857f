use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn no_files(path: &str) -> Result<String, String> {
    Err(format!("{path}: no such file"))
}

fn ini(text: &str) -> Result<Vec<(String, String)>, String> {
    let entries = read_ini(text, "test.ini", &mut no_files);
    let errors = |errors: Vec<FileError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    entries
        .map(|entries| entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
        .map_err(errors)
}

#[test]
fn lines_of_an_ini_are_read_as_pgbouncer_reads_them() {
    // Each was tried with PgBouncer 1.18, but for the quotes around names, which are newer.
    for (line, key, value) in [
        ("a=b", "a", "b"),
        ("  a \t= \t b c \r", "a", "b c"),
        ("a = 3 ; no comment", "a", "3 ; no comment"),
        ("a =", "a", ""),
        ("a-b.c* = x=y", "a-b.c*", "x=y"),
        ("* = host=db", "*", "host=db"),
        ("[databases] a = b", "a", "b"),
        ("\"a \"\"b\"\"\" = c", "a \"b\"", "c"),
    ] {
        let text = format!("[pgbouncer]\n{line}\n");
        assert_eq!(ini(&text), Ok(vec![(key.to_owned(), value.to_owned())]), "{line}");
    }
    for line in ["a", "a b = c", "a$b = c", "é = c", "%includefile", "[pgbouncer", "= c", "\"a = b"]
    {
        let error = ini(&format!("[pgbouncer]\n{line}\n")).unwrap_err();
        assert!(error.starts_with("test.ini:2: "), "{line}: {error}");
    }
    assert!(ini("[Databases]\na = b").unwrap_err().contains("there is no section [Databases]"));
    assert!(ini("a = b").unwrap_err().contains("stands in no section"));
}

#[test]
fn an_included_file_goes_on_in_the_section_and_names_its_own_lines() {
    let files = HashMap::from([
        ("one.ini", "a = 1\n[databases]\n%include two.ini\n"),
        ("two.ini", "b = 2\n"),
        ("loop.ini", "%include loop.ini\n"),
        ("bad.ini", "\nbad\n"),
    ]);
    let mut include =
        |path: &str| files.get(path).map(ToString::to_string).ok_or("none".to_owned());
    let text = "[pgbouncer]\n%include one.ini\nc = 3\n";
    let entries = read_ini(text, "test.ini", &mut include).unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| format!("{} {} {}", entry.place, entry.section, entry.key))
        .collect();
    assert_eq!(found, ["one.ini:1 pgbouncer a", "two.ini:1 databases b", "test.ini:3 databases c"]);

    let mut error = |path: &str| {
        let text = format!("[pgbouncer]\n%include {path}\n");
        read_ini(&text, "test.ini", &mut include).unwrap_err()[0].to_string()
    };
    assert!(
        error("loop.ini").starts_with("loop.ini:1: files include one another more than 10 deep")
    );
    assert!(error("bad.ini").starts_with("bad.ini:2: `bad` is no"));
    assert_eq!(error("gone.ini"), "test.ini:2: cannot include `gone.ini`: none");
}

#[test]
fn pairs_are_read_as_pgbouncer_reads_them() {
    let read = |text: &str| {
        read_pairs(text).map(|pairs| {
            pairs
                .into_iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect::<Vec<_>>()
                .join("|")
        })
    };
    for (text, expected) in [
        ("", ""),
        ("a=b c=d", "a:b|c:d"),
        ("a = b   c =  d ", "a:b|c:d"),
        ("a= b=c", "a:b=c"),
        ("a='x''y z' b=c", "a:x'y z|b:c"),
        ("a=b;c=d", "a:b;c=d"),
        ("a=b'c", "a:b'c"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["a", "a=", "a=''", "a='b", "=b", "a=b c"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn a_userlist_is_read_whole_or_not_at_all() {
    let md5 = format!("md5{}", "a".repeat(32));
    let text = format!("; comment\n  \"a\" \"b\" more\n\n\"c\" \"{md5}\"\r\n\"d\" \"\"");
    let logins = read_userlist(&text, "test.txt").unwrap();
    let lines: Vec<_> = logins.iter().map(|login| (login.line, login.name.as_str())).collect();
    assert_eq!(lines, [(2, "a"), (4, "c"), (5, "d")]);
    assert!(matches!(logins[1].password, StoredPassword::Md5(_)));
    assert_eq!(logins[2].password, StoredPassword::None);
    let long = format!("\"{}\" \"p\"", "n".repeat(128));
    for bad in ["# comment", "a b", "\"a\"", "\"a\" \"b", "\"a\" b", "\"\" \"b\"", &long] {
        let errors = read_userlist(&format!("\"ok\" \"ok\"\n{bad}\n"), "test.txt").unwrap_err();
        assert!(errors[0].to_string().starts_with("test.txt:2: "), "{bad}");
    }
}

fn hba(line: &str) -> Result<HbaRules, String> {
    let mut list = |path: &str| match path {
        "names" => Ok("a, \"b c\"\nd # comment".to_owned()),
        path => no_files(path),
    };
    HbaRules::read(line, "hba", &mut list).map_err(|errors| errors[0].to_string())
}

#[test]
fn the_first_rule_that_fits_counts() {
    // Rule; connection as address and TLS; database, user; whether it fits.
    let (local, plain, tls) = (None, Some(("10.0.0.7", false)), Some(("10.0.0.7", true)));
    let six = Some(("2001:db8::7", false));
    for (rule, from, database, user, fits) in [
        ("local all all trust", local, "d", "u", true),
        ("local all all trust", plain, "d", "u", false),
        ("host all all all trust", local, "d", "u", false),
        ("host all all all trust", plain, "d", "u", true),
        ("host all all all trust", six, "d", "u", true),
        ("hostssl all all all trust", plain, "d", "u", false),
        ("hostssl all all all trust", tls, "d", "u", true),
        ("hostnossl all all all trust", tls, "d", "u", false),
        ("hostnossl all all all trust", plain, "d", "u", true),
        ("host all all 10.0.0.0/24 md5", plain, "d", "u", true),
        ("host all all 10.0.1.0/24 md5", plain, "d", "u", false),
        ("host all all 10.0.0.9/24 md5", plain, "d", "u", true),
        ("host all all 0.0.0.0/0 md5", plain, "d", "u", true),
        ("host all all 0.0.0.0/0 md5", six, "d", "u", false),
        ("host all all ::/0 md5", six, "d", "u", true),
        ("host all all 10.0.0.1 255.255.0.0 md5", plain, "d", "u", true),
        ("host all all 10.1.0.1 255.255.0.0 md5", plain, "d", "u", false),
        ("host a,b,d all all md5", plain, "d", "u", true),
        ("host a, b u all md5", plain, "b", "u", true),
        ("host \"all\" all all md5", plain, "d", "u", false),
        ("host \"all\" all all md5", plain, "all", "u", true),
        ("host sameuser all all md5", plain, "u", "u", true),
        ("host sameuser all all md5", plain, "d", "u", false),
        ("host replication all all md5", plain, "replication", "u", false),
        ("host all @names all md5", plain, "d", "b c", true),
        ("host all @names all md5", plain, "d", "u", false),
    ] {
        let client = HbaClient {
            database,
            user,
            address: from.map(|(address, _)| address.parse().unwrap()),
            is_encrypted: from.is_some_and(|(_, tls)| tls),
            wants_replication: false,
        };
        assert_eq!(hba(rule).unwrap().find(client).is_some(), fits, "{rule} {client:?}");
    }
    let rules = hba("host d u all reject\nhost all all all trust\n").unwrap();
    let client = |user| HbaClient {
        database: "d",
        user,
        address: "::ffff:10.0.0.7".parse().ok(),
        is_encrypted: false,
        wants_replication: false,
    };
    assert_eq!(rules.find(client("u")).unwrap().method, HbaMethod::Reject);
    assert_eq!(rules.find(client("v")).unwrap().line, 2);
    let replication = HbaClient { wants_replication: true, ..client("v") };
    assert_eq!(rules.find(replication), None);
}

#[test]
fn what_is_no_rule_is_refused_with_what_to_do() {
    for (line, says) in [
        ("all all trust", "begins with local, host"),
        ("local all", "the user is missing"),
        ("local all all", "the method is missing"),
        ("host all all trust", "`trust` is no address"),
        ("host all all 10.0.0.0/33 trust", "no address such as"),
        ("host all all 10.0.0.1 trust", "is no mask"),
        ("host all all 10.0.0.1 ::1 trust", "is no mask"),
        ("host all all db.example.com trust", "host names are not supported"),
        ("host all +staff all trust", "roles are not known"),
        ("host samerole all all trust", "roles are not known"),
        ("host all all all ldap", "method `ldap` is none of trust"),
        ("host all all all peer", "`local` only"),
        ("host all all all cert", "`hostssl` only"),
        ("host all all all md5 map=x", "for peer and cert"),
        ("local all all peer foo=x", "option `foo=x` is unknown"),
        ("host all @gone all trust", "cannot read `gone`"),
        ("host \"all all all trust", "quotes"),
        ("host all all a,b trust", "several where one"),
    ] {
        let error = hba(line).unwrap_err();
        assert!(error.starts_with("hba:1: ") && error.contains(says), "{line}: {error}");
    }
}

#[test]
fn an_ident_map_allows_what_a_line_says() {
    let text = "m ann bob # comment\nm /^(.*)@x\\.org$ \\1\nm /^dba_ all\nm \"a b\" \"all\"\n";
    let maps = IdentMaps::read(text, "ident").unwrap();
    for (outside, inside, allowed) in [
        ("ann", "bob", true),
        ("ann", "ann", false),
        ("eve@x.org", "eve", true),
        ("eve@x.org", "bob", false),
        ("eve@xyorg", "eve", false),
        ("dba_eve", "anybody", true),
        ("xdba_eve", "anybody", false),
        ("a b", "all", true),
        ("a b", "anybody", false),
    ] {
        assert_eq!(maps.allow("m", outside, inside), allowed, "{outside} {inside}");
    }
    let huge = format!("m /{} x", "(a{999}){99}");
    for (line, says) in [
        ("m a", "three fields"),
        ("m a b c", "three fields"),
        ("m /( x", "no regular expression"),
        ("m /a \\1", "has none"),
        (huge.as_str(), "no regular expression"),
    ] {
        let error = IdentMaps::read(line, "ident").unwrap_err()[0].to_string();
        assert!(error.starts_with("ident:1: ") && error.contains(says), "{line}: {error}");
    }
}

proptest! {
    #[test]
    fn an_ini_that_was_written_is_read(
        lines in prop::collection::vec(("[a-z_*.-]{1,9}", "[^\0\r\n\t]{0,20}"), 0..9),
    ) {
        let lines: Vec<_> =
            lines.into_iter().map(|(key, value)| (key, value.trim().to_owned())).collect();
        let mut text = "[databases]\n".to_owned();
        for (key, value) in &lines {
            text += &format!("{key} = {value}\n");
        }
        prop_assert_eq!(ini(&text), Ok(lines));
    }

    #[test]
    fn pairs_that_were_written_are_read(
        pairs in prop::collection::vec(("[a-z_]{1,9}", "[^\0\n]{1,20}"), 0..6),
    ) {
        let written: Vec<_> = pairs.iter().map(|(key, value)| quote_pair(key, value)).collect();
        prop_assert_eq!(read_pairs(&written.join(" ")), Ok(pairs));
    }

    #[test]
    fn a_login_that_was_written_is_read(name in "[^\0\n]{1,30}", password in "[^\0\n]{1,40}") {
        let logins = read_userlist(&userlist_line(&name, &password), "test").unwrap();
        prop_assert_eq!(&logins[0].name, &name);
        prop_assert_eq!(&logins[0].password, &StoredPassword::read(&password).unwrap());
    }

    #[test]
    fn a_range_has_the_addresses_that_begin_as_it_does(address: u32, other: u32, bits in 0u32..=32) {
        let [address, other] = [address, other].map(std::net::Ipv4Addr::from);
        let range: AddressRange = format!("{address}/{bits}").parse().unwrap();
        let same = u32::from(address).checked_shr(32 - bits) == u32::from(other).checked_shr(32 - bits);
        prop_assert_eq!(range.contains(other.into()), same);
        prop_assert!(range.contains(address.into()));
    }
}
