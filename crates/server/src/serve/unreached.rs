//! Nodes that cannot be reached, from the start on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use pgherd_wire::startup;
use socket2::{Domain, SockAddr, Socket, Type};

use super::*;

/// A proxy with more of the settings.
fn started(more: &str, look_up: LookUp) -> Server {
    let text = format!(
        "user = [{{ name = \"u\" }}]\n{more}\n[listen]\nport = 0\nauth = \"trust\"\nworkers = 1\n\
         [pool]\nacquire_timeout = \"1s\"\nopen_retry = \"50ms\"\ndns_retry = \"10ms\"\n\
         [health]\nfailures = 1\ntimeout = \"10m\"\n"
    );
    let settings = Settings::from_toml(&text, "test").unwrap();
    Server::start_with(&settings, Inherited::default(), look_up).unwrap()
}

fn begin_login(server: &Server, database: &str) -> TcpStream {
    let mut client = TcpStream::connect(server.address()).unwrap();
    let mut out = Vec::new();
    let parameters = [("user", "u"), ("database", database)];
    startup::put_startup(&mut out, startup::PROTOCOL_3_0, parameters);
    client.write_all(&out).unwrap();
    client
}

/// What a client is told before its connection is closed.
fn refused(server: &Server, database: &str) -> String {
    let mut said = Vec::new();
    begin_login(server, database).read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_node_that_is_not_found_keeps_nobody_from_the_others_and_is_used_once_it_is() {
    let listeners = ["late", "here"].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [late, here] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let is_there = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&is_there);
    let look_up: LookUp = Arc::new(move |name, _| match name {
        "here.test" => Ok(vec![here]),
        _ if knows.load(Ordering::Relaxed) => Ok(vec![late]),
        _ => Err(io::Error::other("no such name")),
    });
    let nodes = "node = [{ host = \"late.test\", role = \"coordinator\" },\n\
                 { host = \"here.test\", role = \"worker\", shard = 0 }]\n\
                 database = [{ name = \"late\" }, { name = \"here\", shard = 0 }]";
    let server = started(nodes, look_up);
    let _client = begin_login(&server, "here");
    listeners[1].accept().unwrap();
    let said = refused(&server, "late");
    let expected = "failed: late.test:5432 was not found: no such name";
    assert!(said.contains(expected), "{said}");
    is_there.store(true, Ordering::Relaxed);
    while server.proxy.addresses.not_found(0).is_some() {
        std::thread::yield_now();
    }
    let _client = begin_login(&server, "late");
    listeners[0].accept().unwrap();
    server.stopper().stop();
}

/// A proxy before a node whose Unix socket is this one.
fn before_socket(path: &Path) -> Server {
    let folder = path.parent().unwrap().display();
    let node = format!("node = [{{ host = \"{folder}\", role = \"coordinator\" }}]");
    started(&node, Arc::new(|_, _| panic!("a Unix socket is not looked up")))
}

#[test]
fn a_unix_socket_whose_queue_is_full_is_tried_again_and_its_node_is_not_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".s.PGSQL.5432");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(&path).unwrap();
    listener.bind(&address).and_then(|()| listener.listen(0)).unwrap();
    let mut fill = Vec::new();
    let full = loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&address) {
            Ok(()) => fill.push(socket),
            Err(full) => break full,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let server = before_socket(&path);
    let said = refused(&server, "postgres");
    let expected = format!("failed: the queue of the Unix socket {} is full", path.display());
    assert!(said.contains(&expected), "{said}");
    let topology = server.topology();
    assert!(topology.health(topology.coordinator().primary).is_healthy());
    let _client = begin_login(&server, "postgres");
    drop(fill);
    // Those that filled it have said nothing; the probe tells its name.
    let is_backend = |mut stream: Socket| {
        let mut begun = [0; 512];
        let length = stream.read(&mut begun).unwrap();
        length > 0 && !String::from_utf8_lossy(&begun[..length]).contains("pgherd/")
    };
    while !is_backend(listener.accept().unwrap().0) {}
    server.stopper().stop();
}

#[test]
fn the_unix_socket_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".s.PGSQL.5432");
    let server = before_socket(&path);
    let said = refused(&server, "postgres");
    let expected = format!("cannot connect to {}: No such file or directory", path.display());
    assert!(said.contains(&expected), "{said}");
    server.stopper().stop();
}
