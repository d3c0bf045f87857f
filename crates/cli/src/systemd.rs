//! What systemd and a service of it tell one another; nothing where there is no systemd.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The sockets that systemd has opened for this process (`LISTEN_FDS`).
pub(crate) fn sockets() -> Vec<OwnedFd> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..given.len() {
        if let Ok(Some(socket)) = given.take_tcp_listener(at) {
            sockets.push(socket.into());
        } else if let Ok(Some(socket)) = given.take_unix_listener(at) {
            sockets.push(socket.into());
        } else {
            tracing::warn!(at, "a socket of systemd's listens neither on TCP nor on a Unix socket");
        }
    }
    sockets
}

/// This process serves, and is the one that the service is about: after a take-over it is another one
/// than systemd has started.
pub(crate) fn tell_ready() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// Settings are being read again; [`tell_ready`] follows.
pub(crate) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock to tell systemd the time by"),
    }
}

/// This process is about to end.
pub(crate) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "systemd hears nothing");
    }
}
