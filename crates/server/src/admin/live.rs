//! Settings that a console changes while pgherd runs.

use std::time::Duration;

use pgherd_core::Settings;

use crate::relay::MessageLimit;
use pgherd_core::settings::LogSettings;

/// What each core keeps of them, and looks up anew when it is told to.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Clients accepted at most.
    pub(crate) max_clients: usize,
    /// `listen.memory_limit`; 0 is none.
    pub(crate) memory_limit: u64,
    /// How long a client may take to log in.
    pub(crate) login_timeout: Duration,
    /// How long a client waits before it is told that it does; zero for ever.
    pub(crate) wait_notice: Duration,
    /// What each client is told when it has logged in; empty for nothing.
    pub(crate) login_notice: String,
    /// Whether the `application_name` of each client has its address behind it.
    pub(crate) adds_host: bool,
    /// The longest message that is let through.
    pub(crate) message_limit: MessageLimit,
    /// Whether clients may send no simple queries.
    pub(crate) refuses_queries: bool,
    /// Whether backends that are to be closed take the clients of whole sessions along.
    pub(crate) fast_close: bool,
    /// How long SUSPEND waits.
    pub(crate) suspend_timeout: Duration,
    /// How long a cancel request may take to reach its node.
    pub(crate) cancel_wait_timeout: Duration,
    /// How long opening a backend may take, login included.
    pub(crate) connect_timeout: Duration,
    /// How long a backend may stay idle.
    pub(crate) idle_timeout: Duration,
    /// How far back averages reach.
    pub(crate) stats_period: Duration,
    /// What is told of clients.
    pub(crate) log: LogSettings,
}

/// How PgBouncer writes a value.
#[derive(Debug, Clone, Copy)]
enum Written {
    AsOurs,
    Seconds,
    /// 0 or 1.
    Flag,
}

use Written::{AsOurs, Flag, Seconds};

/// A setting of PgBouncer's.
type Theirs = (&'static str, Written);

/// Those settings, under our names and, where it has them, PgBouncer's.
const CHANGEABLE: [(&str, Option<Theirs>); 18] = [
    ("listen.max_clients", Some(("max_client_conn", AsOurs))),
    ("listen.memory_limit", None),
    ("listen.login_timeout", Some(("client_login_timeout", Seconds))),
    ("listen.wait_notice", Some(("query_wait_notify", Seconds))),
    ("listen.login_notice", Some(("login_notify_message", AsOurs))),
    ("listen.application_name_add_host", Some(("application_name_add_host", Flag))),
    ("listen.message_limit", Some(("max_packet_size", AsOurs))),
    ("pool.fast_close", Some(("server_fast_close", Flag))),
    ("listen.suspend_timeout", Some(("suspend_timeout", Seconds))),
    ("listen.cancel_wait_timeout", Some(("cancel_wait_timeout", Seconds))),
    ("pool.connect_timeout", Some(("server_connect_timeout", Seconds))),
    ("pool.idle_timeout", Some(("server_idle_timeout", Seconds))),
    ("listen.stats_period", Some(("stats_period", Seconds))),
    ("log.connections", Some(("log_connections", Flag))),
    ("log.disconnections", Some(("log_disconnections", Flag))),
    ("log.client_errors", Some(("log_pooler_errors", Flag))),
    ("log.statistics", Some(("log_stats", Flag))),
    ("log.lines_per_second", None),
];

impl Live {
    /// What these settings say.
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { listen, pool, log, .. } = settings;
        Self {
            max_clients: listen.max_clients as usize,
            memory_limit: listen.memory_limit.0,
            login_timeout: listen.login_timeout,
            wait_notice: listen.wait_notice,
            login_notice: listen.login_notice.clone(),
            adds_host: listen.application_name_add_host,
            message_limit: MessageLimit::of(listen.message_limit),
            refuses_queries: !listen.simple_queries,
            fast_close: pool.fast_close,
            suspend_timeout: listen.suspend_timeout,
            cancel_wait_timeout: listen.cancel_wait_timeout,
            connect_timeout: pool.connect_timeout,
            idle_timeout: pool.idle_timeout,
            stats_period: listen.stats_period,
            log: log.clone(),
        }
    }
}

/// Whether a setting can be changed, by one of its names.
pub(crate) fn is_changeable(key: &str) -> bool {
    find(key).is_some()
}

fn find(key: &str) -> Option<(&'static str, Option<Theirs>)> {
    let has_it = |(ours, theirs): &(&str, Option<Theirs>)| {
        key == *ours || theirs.is_some_and(|(name, _)| key == name)
    };
    CHANGEABLE.into_iter().find(has_it)
}

/// Settings that hold at once when the file is read again, beside those that SET changes.
const ALSO_LIVE: [&str; 9] = [
    "pool.size",
    "pool.min_idle",
    "pool.acquire_timeout",
    "pool.max_lifetime",
    "pool.pin_limit",
    // The program follows them.
    "log.syslog",
    "log.syslog_ident",
    "log.syslog_facility",
    "log.syslog_socket",
];

/// Whether a setting, by its own name, holds at once when it has changed in the file.
pub(crate) fn is_live(path: &str) -> bool {
    ALSO_LIVE.contains(&path) || CHANGEABLE.iter().any(|(ours, ..)| path == *ours)
}

/// Changes a setting, by one of its names: ours, with a unit, or PgBouncer's, written as there.
///
/// # Errors
/// What is wrong. Nothing is changed then.
pub(crate) fn set(settings: &mut Settings, key: &str, value: &str) -> Result<(), String> {
    let Some((ours, theirs)) = find(key) else {
        return Err(format!("{key} cannot be changed while pgherd runs"));
    };
    let written = theirs.filter(|(name, _)| key == *name).map_or(AsOurs, |(_, written)| written);
    let value = match (written, value) {
        (Seconds, number) => format!("{number}s"),
        (Flag, "0") => "false".to_owned(),
        (Flag, "1") => "true".to_owned(),
        (AsOurs | Flag, value) => value.to_owned(),
    };
    settings.set(ours, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_says_which_settings_are_live() {
        for setting in pgherd_core::settings::reference() {
            let path = format!("{}.{}", setting.section, setting.name);
            let says = setting.doc.iter().any(|line| line.contains("Reload: live."));
            assert_eq!(says, is_live(&path), "{path}");
            assert!(Settings::default().copy(&path, &Settings::default()), "{path}");
        }
    }

    #[test]
    fn what_can_be_changed_is_a_setting_and_has_effect() {
        let mut settings = Settings::default();
        for (ours, theirs) in CHANGEABLE {
            let value = match ours {
                "listen.max_clients" | "listen.login_notice" => "7",
                "listen.application_name_add_host" | "pool.fast_close" => "true",
                "listen.memory_limit" | "listen.message_limit" => "7MiB",
                "log.lines_per_second" => "7",
                ours if ours.starts_with("log.") => "true",
                _ => "7s",
            };
            set(&mut settings, ours, value).unwrap();
            assert!(is_changeable(ours));
            if let Some((theirs, written)) = theirs {
                let value = match written {
                    Flag => "0",
                    AsOurs if ours == "listen.message_limit" => "7000",
                    AsOurs | Seconds => "7",
                };
                set(&mut settings, theirs, value).unwrap();
            }
        }
        let live = Live::of(&settings);
        assert_eq!((live.max_clients, live.memory_limit), (7, 7 << 20));
        let seven = Duration::from_secs(7);
        let times = [
            live.login_timeout,
            live.wait_notice,
            live.suspend_timeout,
            live.cancel_wait_timeout,
            live.connect_timeout,
            live.idle_timeout,
            live.stats_period,
        ];
        assert_eq!(times, [seven; 7]);
        let log = LogSettings {
            connections: false,
            disconnections: false,
            client_errors: false,
            statistics: false,
            lines_per_second: 7,
            ..LogSettings::default()
        };
        assert_eq!(live.log, log);
        assert!(set(&mut settings, "log_stats", "2").is_err());
        // As PgBouncer writes it, it was set last.
        assert_eq!((live.fast_close, live.message_limit), (false, MessageLimit(6999)));
        assert_eq!((live.adds_host, live.login_notice.as_str()), (false, "7"));
        assert!(set(&mut settings, "listen.max_clients", "0").is_err());
        assert!(set(&mut settings, "server_idle_timeout", "x").is_err());
        assert!(set(&mut settings, "listen.port", "1").is_err() && !is_changeable("listen.port"));
    }
}
