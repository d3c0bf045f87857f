//! The idle clients: a process that logs them in, has each run a transaction, and keeps them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use pgherd_lab::cluster;
use pgherd_wire::{Frame, HEADER, frontend, startup};

use crate::proxy::stage;

/// What the process says once all are idle.
const HELD: &str = "held";

/// That process, seen from outside. It ends when this is dropped.
pub(super) struct Holder(Child);

impl Holder {
    /// Starts it, and returns once so many clients are idle.
    pub(super) fn start(port: u16, count: u32) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", &port.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the idle clients")?;
        let said = child.stdout.take().context("its output is piped")?;
        let holder = Self(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line.trim() == HELD, "the idle clients were not let in");
        Ok(holder)
    }

    /// Ends it; an error if one of the clients was not idle to the end.
    pub(super) fn let_go(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "an idle client was not left alone: {status}");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It has ended already, unless something has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process: holds `count` clients on a port of 127.0.0.1 until its input ends.
///
/// # Errors
/// When one of them is not let in, or is told something while it is idle.
pub(crate) fn run(port: u16, count: u32) -> Result<()> {
    crate::proxy::raise_descriptor_limit()?;
    let clients: Vec<TcpStream> =
        (0..count).map(|number| idle(port, number)).collect::<Result<_>>()?;
    println!("{HELD}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for mut client in clients {
        client.set_nonblocking(true)?;
        let told = client.read(&mut [0]);
        let is_left_alone = told.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        ensure!(is_left_alone, "an idle client was told something");
    }
    Ok(())
}

/// A client that has logged in and run a transaction.
fn idle(port: u16, number: u32) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut out = Vec::new();
    let login = [("user", cluster::USER), ("database", cluster::DATABASE)];
    startup::put_startup(&mut out, startup::PROTOCOL_3_0, login);
    stream.write_all(&out)?;
    read_until_ready(&mut stream)?;
    out.clear();
    let account = number % (stage::SCALE * 100_000) + 1;
    frontend::put_query(
        &mut out,
        &format!("SELECT abalance FROM pgbench_accounts WHERE aid = {account};"),
    );
    stream.write_all(&out)?;
    read_until_ready(&mut stream)?;
    Ok(stream)
}

fn read_until_ready(stream: &mut TcpStream) -> Result<()> {
    let mut kept = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&kept));
        kept.extend_from_slice(&bytes[..read]);
        let mut at = 0;
        while let Some(frame) = Frame::read(&kept[at..], u32::MAX)? {
            let Some(message) = kept.get(at..at + frame.size) else { break };
            let body = &message[HEADER..];
            ensure!(frame.tag != b'E', "an error: {}", String::from_utf8_lossy(body));
            if frame.tag == b'Z' {
                return Ok(());
            }
            at += frame.size;
        }
        kept.drain(..at);
    }
}
