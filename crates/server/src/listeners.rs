//! Where clients come in: sockets that listen on TCP and on Unix sockets.
//!
//! In: `[listen]` and `http.listen`, and sockets that somebody else has opened. Out: one socket for each
//! address and for the Unix socket, opened here where none was inherited. What is inherited and not in
//! the settings is closed.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgherd_core::settings::ListenSettings;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::serve::ServeError;

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Option<SocketFile>),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// The file of a Unix socket. Dropping it removes it, if it is still the same and this process's own.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    is: Option<Identity>,
    is_own: Arc<AtomicBool>,
}

/// Device, inode, and when it was made: the number of an inode is soon given to another file.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let is_own = Arc::new(AtomicBool::new(true));
        Ok(Self { path: path.to_owned(), is: identity(path)?, is_own })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = self.is_own.load(Ordering::Relaxed);
        if is_own && self.is.is_some() && identity(&self.path).is_ok_and(|is| is == self.is) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Which socket it is, if it is one.
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    let file = fs::symlink_metadata(path)?;
    let is = (file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
    Ok(file.file_type().is_socket().then_some(is))
}

/// All sockets of a process.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// The sockets.
    pub(crate) all: Vec<Listener>,
    /// Where they listen on TCP.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where they listen beside.
    pub(crate) unix: Option<UnixPlace>,
    /// Who may connect there.
    pub(crate) access: Access,
    /// Whether the file there is this process's own: not that of a socket that was inherited, until
    /// whoever had it says so.
    pub(crate) owns_file: Arc<AtomicBool>,
}

impl Listeners {
    /// Listens wherever the settings say, on what was `inherited` where that fits.
    ///
    /// # Errors
    /// [`ServeError::Listen`] says where, and what the system says.
    pub(crate) fn open(
        settings: &ListenSettings,
        mut inherited: Vec<OwnedFd>,
    ) -> Result<Self, ServeError> {
        let (mut all, mut addresses) = (Vec::new(), Vec::new());
        let mut port = settings.port;
        // Alone, `::` is every address of IPv4, too.
        let only_v6 = settings.addresses().any(|ip| ip.is_ipv4());
        for ip in settings.addresses() {
            let failed = |source| {
                let address = ip.to_string();
                ServeError::Listen { address, port, source }
            };
            let heir = take(&mut inherited, |at| {
                let at = at.as_socket();
                at.is_some_and(|at| at.ip() == ip && (port == 0 || at.port() == port))
            });
            let listener = match heir {
                Some(socket) => TcpListener::from(socket),
                None => tcp(ip, port, only_v6, settings).map_err(failed)?,
            };
            let at = listener.local_addr().map_err(failed)?;
            // The others, and the Unix socket, have the one that was found for the first.
            port = at.port();
            addresses.push(at);
            all.push(Listener::Tcp(listener));
        }
        let place = UnixPlace::of(settings, port);
        let (owns_file, mut access): (Arc<AtomicBool>, _) = (Arc::default(), Access::default());
        if let Some(place) = &place {
            let failed = |source| {
                let address = place.to_string();
                ServeError::ListenUnix { address, source }
            };
            access = Access::of(settings).map_err(failed)?;
            let heir = take(&mut inherited, |at| place.is(at));
            owns_file.store(heir.is_none(), Ordering::Relaxed);
            let listener = match heir {
                Some(socket) => UnixListener::from(socket),
                None => place.bind(access, backlog(settings)).map_err(failed)?,
            };
            let mut file = place.own_file().map_err(failed)?;
            if let Some(file) = &mut file {
                file.is_own = Arc::clone(&owns_file);
            }
            all.push(Listener::Unix(listener, file));
        }
        Ok(Self { all, addresses, unix: place, access, owns_file })
    }
}

/// Listens for HTTP, where the settings name an address: on what was `inherited`, if that fits, which is
/// none of the clients' then.
///
/// # Errors
/// [`ServeError::ListenHttp`] says where, and what the system says.
pub(crate) fn http(
    at: &str,
    inherited: &mut Vec<OwnedFd>,
) -> Result<Option<TcpListener>, ServeError> {
    let mut try_listen = || -> io::Result<_> {
        let at: SocketAddr =
            at.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let listener = match take(inherited, |one| one.as_socket() == Some(at)) {
            Some(socket) => TcpListener::from(socket),
            None => TcpListener::bind(at)?,
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    if at.is_empty() {
        return Ok(None);
    }
    let listened = try_listen();
    listened.map(Some).map_err(|source| ServeError::ListenHttp { at: at.to_owned(), source })
}

/// The first of the sockets whose address is the one.
fn take(sockets: &mut Vec<OwnedFd>, is_it: impl Fn(&SockAddr) -> bool) -> Option<OwnedFd> {
    let is_it = |one: &OwnedFd| SockRef::from(one).local_addr().is_ok_and(|at| is_it(&at));
    let at = sockets.iter().position(is_it)?;
    Some(sockets.swap_remove(at))
}

fn tcp(ip: IpAddr, port: u16, only_v6: bool, settings: &ListenSettings) -> io::Result<TcpListener> {
    let at = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(backlog(settings))?;
    Ok(socket.into())
}

fn backlog(settings: &ListenSettings) -> i32 {
    i32::try_from(settings.backlog).unwrap_or(i32::MAX)
}

/// Who may connect to a Unix socket that is in a folder.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Access {
    mode: u32,
    group: Option<u32>,
}

impl Access {
    /// The user of this process.
    pub(crate) const OWN: Self = Self { mode: 0o600, group: None };

    fn of(settings: &ListenSettings) -> io::Result<Self> {
        let group = match settings.unix_socket_group.as_str() {
            "" => None,
            name => Some(group(name)?),
        };
        Ok(Self { mode: settings.unix_mode().unwrap_or(0o777), group })
    }
}

/// Where a Unix socket is: in a folder, or under an abstract name (`@`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnixPlace(String);

impl UnixPlace {
    /// The clients' socket.
    pub(crate) fn of(settings: &ListenSettings, port: u16) -> Option<Self> {
        let folder = settings.unix_socket_dir.trim_end_matches('/');
        let is_set = !settings.unix_socket_dir.is_empty();
        is_set.then(|| Self(format!("{folder}/.s.PGSQL.{port}")))
    }

    /// Where another process asks for the place of the one that listens at the clients' socket.
    pub(crate) fn desk(settings: &ListenSettings, port: u16) -> Option<Self> {
        Self::of(settings, port).map(|Self(clients)| Self(format!("{clients}.takeover")))
    }

    /// Its file as one that this process removes.
    pub(crate) fn own_file(&self) -> io::Result<Option<SocketFile>> {
        self.file().map(SocketFile::at).transpose()
    }

    /// Connects to whoever listens there.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&self.address()?)?;
        Ok(UnixStream::from(OwnedFd::from(socket)))
    }

    fn file(&self) -> Option<&Path> {
        (!self.0.starts_with('@')).then(|| Path::new(&self.0))
    }

    fn address(&self) -> io::Result<SockAddr> {
        unix_address(&self.0)
    }

    fn is(&self, at: &SockAddr) -> bool {
        match self.0.strip_prefix('@') {
            Some(name) => at.as_abstract_namespace() == Some(name.as_bytes()),
            None => at.as_pathname() == Some(Path::new(&self.0)),
        }
    }

    /// Lets those connect, and nobody else.
    pub(crate) fn admit(&self, Access { mode, group }: Access) -> io::Result<()> {
        let Some(file) = self.file() else { return Ok(()) };
        fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
        match group {
            Some(_) => chown(file, None, group),
            None => Ok(()),
        }
    }

    /// Listens there. A file that a process has left which is gone is no obstacle.
    pub(crate) fn bind(&self, access: Access, backlog: i32) -> io::Result<UnixListener> {
        let (socket, address) = (Socket::new(Domain::UNIX, Type::STREAM, None)?, self.address()?);
        match (socket.bind(&address), self.file()) {
            (Err(error), Some(file))
                if error.kind() == io::ErrorKind::AddrInUse && is_stale(file) =>
            {
                fs::remove_file(file)?;
                socket.bind(&address)?;
            }
            (bound, _) => bound?,
        }
        // Before it listens: nobody can connect until then.
        self.admit(access)?;
        socket.listen(backlog)?;
        Ok(UnixListener::from(OwnedFd::from(socket)))
    }
}

impl std::fmt::Display for UnixPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of a Unix socket: a path, or an abstract name, whose zero byte `@` stands for.
pub(crate) fn unix_address(place: &str) -> io::Result<SockAddr> {
    match place.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(place),
    }
}

/// Whether a Unix socket is nobody's: who has bound it is gone.
fn is_stale(file: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    UnixStream::connect(file).err().is_some_and(refused)
}

/// The number of a group, whatever database of groups the system has.
fn group(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let output = Command::new("getent").args(["group", "--", name]).output()?;
    let line = String::from_utf8_lossy(&output.stdout);
    let number = line.split(':').nth(2).and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| io::Error::other(format!("there is no group `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &str) -> ListenSettings {
        ListenSettings { port: 0, unix_socket_dir: folder.to_owned(), ..Default::default() }
    }

    #[test]
    fn each_address_and_the_unix_socket_have_one_port() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = at(folder.path().to_str().unwrap());
        settings.address = "127.0.0.1, 127.0.0.2".to_owned();
        settings.unix_socket_mode = "0700".to_owned();
        let open = Listeners::open(&settings, Vec::new()).unwrap();
        assert_eq!(open.all.len(), 3);
        let port = open.addresses[0].port();
        assert_eq!(open.addresses[1], SocketAddr::from(([127, 0, 0, 2], port)));
        let file = folder.path().join(format!(".s.PGSQL.{port}"));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o700);
        UnixStream::connect(&file).unwrap();
        drop(open);
        assert!(!file.exists());
    }

    #[test]
    fn a_socket_that_a_crash_has_left_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = UnixPlace(folder.path().join(".s.PGSQL.1").to_str().unwrap().to_owned());
        drop(place.bind(Access::OWN, 1).unwrap());
        let _in_use = place.bind(Access::OWN, 1).unwrap();
        let refused = place.bind(Access::OWN, 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_file_of_another_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = at(folder.path().to_str().unwrap());
        let mut open = Listeners::open(&settings, Vec::new()).unwrap();
        let Some(Listener::Unix(_, Some(file))) = open.all.pop() else { panic!("no file") };
        let path = file.path.clone();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn as_many_clients_may_wait_as_the_settings_say() {
        let mut settings = at("");
        settings.backlog = 17;
        let open = Listeners::open(&settings, Vec::new()).unwrap();
        let port = open.addresses[0].port();
        let Ok(shown) = Command::new("ss").args(["-ltnH", &format!("sport = :{port}")]).output()
        else {
            return eprintln!("SKIPPED: there is no `ss` to ask");
        };
        let shown = String::from_utf8(shown.stdout).unwrap();
        // LISTEN, who waits, how many may.
        assert_eq!(shown.split_whitespace().nth(2), Some("17"), "{shown}");
    }

    #[test]
    fn an_abstract_name_is_in_no_folder() {
        let settings = at(&format!("@pgherd-{}", std::process::id()));
        let open = Listeners::open(&settings, Vec::new()).unwrap();
        let place = open.unix.clone().unwrap();
        assert!(place.file().is_none());
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.connect(&place.address().unwrap()).unwrap();
    }

    #[test]
    fn what_is_inherited_for_http_is_not_taken_for_clients() {
        let opened = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = opened.local_addr().unwrap();
        let mut inherited = vec![OwnedFd::from(opened)];
        let heir = http(&at.to_string(), &mut inherited).unwrap().unwrap();
        assert_eq!((heir.local_addr().unwrap(), inherited.len()), (at, 0));
        let taken = http(&at.to_string(), &mut inherited).unwrap_err();
        assert!(taken.to_string().contains("which http.listen is"), "{taken}");
    }

    #[test]
    fn what_is_inherited_is_not_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = at(folder.path().to_str().unwrap());
        let first = Listeners::open(&settings, Vec::new()).unwrap();
        settings.port = first.addresses[0].port();
        let fds = first.all.iter().map(|one| one.as_fd().try_clone_to_owned().unwrap()).collect();
        let second = Listeners::open(&settings, fds).unwrap();
        assert_eq!(second.addresses, first.addresses);
        // Another process has the file now.
        first.owns_file.store(false, Ordering::Relaxed);
        drop(first.all);
        let file = second.unix.as_ref().unwrap().file().unwrap().to_owned();
        UnixStream::connect(&file).unwrap();
        // Not its own before the other process has said so.
        drop(second);
        assert!(file.exists());
    }
}
