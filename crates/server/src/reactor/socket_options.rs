//! How connections over TCP are set up.

use std::io;
use std::time::Duration;

use pgherd_core::Settings;
use pgherd_core::settings::TcpSettings;
use socket2::{SockRef, TcpKeepalive};

/// What is set on each socket: for clients, or for nodes.
#[derive(Debug, Clone, Default)]
pub struct SocketOptions {
    user_timeout: Duration,
    tcp: TcpSettings,
}

impl SocketOptions {
    /// For connections from clients.
    pub(crate) fn of_clients(settings: &Settings) -> Self {
        Self { user_timeout: settings.listen.tcp_user_timeout, tcp: settings.tcp.clone() }
    }

    /// For connections to nodes.
    pub(crate) fn of_nodes(settings: &Settings) -> Self {
        Self { user_timeout: settings.pool.tcp_user_timeout, tcp: settings.tcp.clone() }
    }

    /// No waiting for more to send; and a peer whose host has vanished is noticed: by itself after a
    /// minute and a half of silence, or when the system gives up sending again what it does not confirm.
    ///
    /// A user timeout, unless it is zero, makes the system give up sooner, and on others too: Linux
    /// counts the time for which a peer that is there takes nothing (psql's pager, a COPY that waits for
    /// a lock) as unconfirmed.
    pub(super) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        let TcpSettings { keepalive, keepalive_after, keepalive_interval, keepalive_count, buffer } =
            &self.tcp;
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(*keepalive)?;
        if *keepalive {
            let mut probes = TcpKeepalive::new();
            if !keepalive_after.is_zero() {
                probes = probes.with_time(whole_seconds(*keepalive_after));
            }
            if !keepalive_interval.is_zero() {
                probes = probes.with_interval(whole_seconds(*keepalive_interval));
            }
            if *keepalive_count > 0 {
                probes = probes.with_retries(*keepalive_count);
            }
            socket.set_tcp_keepalive(&probes)?;
        }
        if buffer.0 > 0 {
            let bytes = usize::try_from(buffer.0).unwrap_or(usize::MAX);
            socket.set_send_buffer_size(bytes)?;
            socket.set_recv_buffer_size(bytes)?;
        }
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

/// As the system is told of probes: it counts in seconds, and takes 0 for a mistake.
pub(crate) fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn options(more: &str) -> SocketOptions {
        let text = format!(
            "node = [{{ host = \"h\", role = \"coordinator\" }}]\nuser = [{{ name = \"u\" }}]\n{more}"
        );
        SocketOptions::of_nodes(&Settings::from_toml(&text, "test").unwrap())
    }

    fn connected() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener)
    }

    #[test]
    fn a_peer_that_does_not_read_is_waited_for_unless_the_settings_say_otherwise() {
        for (more, expected) in
            [("", None), ("[pool]\ntcp_user_timeout = \"7s\"", Some(Duration::from_secs(7)))]
        {
            let (stream, _listener) = connected();
            let socket = SockRef::from(&stream);
            options(more).apply(&socket).unwrap();
            let found = socket.tcp_user_timeout().unwrap().filter(|limit| !limit.is_zero());
            assert_eq!(found, expected);
            assert!(socket.keepalive().unwrap());
        }
    }

    #[test]
    fn a_silent_peer_is_asked_as_the_settings_say() {
        let of_system = {
            let (stream, _listener) = connected();
            probes(&stream)
        };
        let set = "[tcp]\nkeepalive_after = \"90s\"\nkeepalive_interval = \"1500ms\"\n\
                   keepalive_count = 7";
        let zero =
            "[tcp]\nkeepalive_after = \"0\"\nkeepalive_interval = \"0\"\nkeepalive_count = 0";
        for (more, expected) in [("", (60, 10, 3)), (set, (90, 2, 7)), (zero, of_system)] {
            let (stream, _listener) = connected();
            options(more).apply(&SockRef::from(&stream)).unwrap();
            assert_eq!(probes(&stream), expected, "{more}");
        }
        let (stream, _listener) = connected();
        let socket = SockRef::from(&stream);
        socket.set_keepalive(true).unwrap();
        options("[tcp]\nkeepalive = false").apply(&socket).unwrap();
        assert!(!socket.keepalive().unwrap());
    }

    /// Seconds of silence, seconds between two questions, and how many there are.
    fn probes(stream: &TcpStream) -> (u64, u64, u32) {
        let socket = SockRef::from(stream);
        (
            socket.tcp_keepalive_time().unwrap().as_secs(),
            socket.tcp_keepalive_interval().unwrap().as_secs(),
            socket.tcp_keepalive_retries().unwrap(),
        )
    }

    #[test]
    fn buffers_are_the_systems_unless_their_size_is_set() {
        let sizes = |more: &str| {
            let (stream, _listener) = connected();
            let socket = SockRef::from(&stream);
            options(more).apply(&socket).unwrap();
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap())
        };
        // Linux takes twice as much, for what it needs itself.
        let of = |bytes| if cfg!(target_os = "linux") { 2 * bytes } else { bytes };
        assert_eq!(sizes("[tcp]\nbuffer = \"32KiB\""), (of(32 * 1024), of(32 * 1024)));
        let of_system = {
            let (stream, _listener) = connected();
            let socket = SockRef::from(&stream);
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap())
        };
        assert_eq!(sizes(""), of_system);
    }
}
