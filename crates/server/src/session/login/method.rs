//! How a client has to log in, by the settings or by a line of the HBA file.

use pgherd_core::pgbouncer::HbaClient;
use pgherd_wire::sqlstate;

use super::{Refusal, Rules};
use crate::auth::Method;
use crate::session::Replication;

/// How this client has to log in, and by which ident map. With a certificate it has, if it is not refused.
pub(super) fn method(
    name: &str,
    database: &str,
    replication: Option<Replication>,
    rules: Rules<'_>,
) -> Result<(Method, Option<String>), Refusal> {
    let shown = rules.encryption.within.and_then(|within| within.made_out_to);
    if rules.method == Method::Cert && shown != Some(name) {
        return Err(Refusal::certificate(name, shown));
    }
    if rules.method != Method::Hba {
        return Ok((rules.method, None));
    }
    let no = |message: String| Refusal::new(sqlstate::INVALID_AUTHORIZATION, message);
    let Some(files) = rules.hba else {
        return Err(no("no HBA file was read".to_owned()));
    };
    // Who has gone has no address, and is not for that over a Unix socket.
    if rules.address.is_none() && !rules.is_local {
        return Err(Refusal::protocol("the client has gone"));
    }
    let is_encrypted = rules.encryption.within.is_some();
    let rule = files.rules.find(HbaClient {
        database,
        user: name,
        address: rules.address,
        is_encrypted,
        // That of a database is asked for as the database is.
        wants_replication: replication == Some(Replication::Physical),
    });
    let whom = || {
        let encryption = if is_encrypted { "SSL encryption" } else { "no encryption" };
        let host = rules.address.map_or_else(|| "[local]".to_owned(), |at| at.to_string());
        format!("host \"{host}\", user \"{name}\", database \"{database}\", {encryption}")
    };
    let Some(rule) = rule else {
        return Err(no(format!("no line of the HBA file is for {}", whom())));
    };
    match Method::of_rule(rule.method) {
        Some(Method::Cert) if !is_allowed(rules, rule.map.as_deref(), shown, name) => {
            Err(Refusal::certificate(name, shown))
        }
        Some(method) => Ok((method, rule.map.clone())),
        None => Err(Refusal {
            for_log: format!("line {} of the HBA file rejects {}", rule.line, whom()),
            ..no(format!("the HBA file rejects {}", whom()))
        }),
    }
}

/// Whether who is known as `shown` outside may be `name` here, by an ident map if there is one.
pub(super) fn is_allowed(
    rules: Rules<'_>,
    map: Option<&str>,
    shown: Option<&str>,
    name: &str,
) -> bool {
    match (shown, map) {
        (None, _) => false,
        (Some(shown), None) => shown == name,
        (Some(shown), Some(map)) => rules.hba.is_some_and(|files| files.allow(map, shown, name)),
    }
}
