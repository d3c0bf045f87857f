//! What has to hold whatever stands in PgBouncer's files.

use std::net::IpAddr;

use crate::pgbouncer::{
    AddressRange, HbaClient, HbaRules, IdentMaps, StoredPassword, quote_pair, read_ini, read_pairs,
    read_userlist, userlist_line,
};

/// A `pgbouncer.ini` that includes itself where it includes anything: it ends, and names its lines.
pub fn ini(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let lines = text.split('\n').count();
    // Whoever includes a file that is empty may do so often.
    let mut include = |path: &str| match path {
        "empty" => Ok(String::new()),
        "missing" => Err("there is none".to_owned()),
        _ => Ok(text.clone().into_owned()),
    };
    match read_ini(&text, "fuzz.ini", &mut include) {
        Ok(entries) => {
            for entry in entries {
                assert!((1..=lines).contains(&entry.place.line), "{entry:?}");
                assert!(
                    !entry.value.contains('\n') && entry.value == entry.value.trim_matches(' ')
                );
                let _ = read_pairs(&entry.value);
            }
        }
        Err(errors) => assert!(errors.iter().all(|error| error.line.is_some())),
    }
}

/// The value of a database: what was read is read again from what it is written as.
pub fn pairs(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let Ok(pairs) = read_pairs(&text) else { return };
    let written: Vec<String> = pairs.iter().map(|(key, value)| quote_pair(key, value)).collect();
    assert_eq!(read_pairs(&written.join(" ")), Ok(pairs));
}

/// A `userlist.txt`: no error shows a password, and logins are read again from what they are
/// written as.
pub fn userlist(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let Ok(logins) = read_userlist(&text, "fuzz.txt") else { return };
    let mut written = String::new();
    for login in &logins {
        let password = match &login.password {
            StoredPassword::None => "",
            StoredPassword::Plain(secret)
            | StoredPassword::Md5(secret)
            | StoredPassword::Scram(secret) => secret.expose(),
        };
        written += &format!("{}\n", userlist_line(&login.name, password));
    }
    let again = read_userlist(&written, "again.txt").expect("what was read can be written");
    assert_eq!(again.len(), logins.len());
    for (again, login) in again.iter().zip(&logins) {
        assert_eq!((&again.name, &again.password), (&login.name, &login.password));
    }
}

/// An HBA file: a range has the address that it is made of, and the rule that is found is the first
/// that fits.
pub fn hba(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let Ok(rules) = HbaRules::read(&text, "fuzz.conf", &mut |_| Ok("a, b\nc".to_owned())) else {
        return;
    };
    for rule in &rules.0 {
        if let AddressRange::Masked { address, .. } = rule.address {
            // An IPv4 address in the clothes of an IPv6 one is looked at as what it is.
            assert!(rule.address.contains(address) || address != address.to_canonical());
        }
    }
    let addresses: [Option<IpAddr>; 3] =
        [None, "127.0.0.1".parse().ok(), "2001:db8::1".parse().ok()];
    for address in addresses {
        for (is_encrypted, wants_replication) in [(false, false), (true, false), (true, true)] {
            let client =
                HbaClient { database: "a", user: "a", address, is_encrypted, wants_replication };
            let found = rules.find(client).map(|rule| rule.line);
            let alone = |line| rules.0.iter().filter(move |rule| rule.line == line);
            if let Some(line) = found {
                let first = HbaRules(alone(line).cloned().collect());
                assert_eq!(first.find(client).map(|rule| rule.line), Some(line));
            }
        }
    }
}

/// An ident map, asked for names that it may hold.
pub fn ident(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let Ok(maps) = IdentMaps::read(&text, "fuzz.conf") else { return };
    let words: Vec<&str> = text.split_whitespace().take(6).collect();
    for map in &words {
        for name in &words {
            assert!(!maps.allow(map, name, name) || maps.has(map));
        }
    }
}
