//! Several proxies behind one address: a request to cancel that arrives at the wrong one.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use pgherd_core::Settings;
use pgherd_lab::{Cluster, ClusterSpec};
use pgherd_server::{Server, Stopper};
use pgherd_wire::startup;
use world::World;
use world::console::{Row, STATS, console, find, show, with_consoles};
use world::raw::{Raw, send_cancel, text_of};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Stops a proxy that a world does not.
struct Stops(Stopper);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Two proxies before one server, each the other's peer, and the second's address.
fn two_proxies() -> (World, Stops, SocketAddr) {
    let ports = [free_port(), free_port()];
    // The same list for both: each leaves itself out.
    let peers: String = (1..)
        .zip(ports)
        .map(|(id, port)| format!("[[peer]]\nid = {id}\nhost = \"127.0.0.1\"\nport = {port}\n"))
        .collect();
    let more = |at: usize| {
        let (id, port) = (at + 1, ports[at]);
        format!("[listen]\nport = {port}\npeer_id = {id}\nworkers = 2\nauth = \"trust\"\n{peers}")
    };
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let settings = Settings::from_toml(&cluster.settings_toml(&more(1)), "second").unwrap();
    let world = World::before(cluster, |_| {}, &more(0));
    let second = Server::start(&settings).unwrap();
    (world, Stops(second.stopper()), second.address())
}

fn assert_cancelled(client: &mut Raw) {
    let said: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(said, ["57014: canceling statement due to user request"]);
}

#[test]
fn a_cancel_request_that_arrives_at_a_peer_is_sent_on() {
    let (world, _stops, second) = two_proxies();
    let first = world.address();
    for protocol in [startup::PROTOCOL_3_0, startup::PROTOCOL_3_2] {
        for (own, wrong) in [(first, second), (second, first)] {
            let mut client = Raw::start_at(own, protocol, &[]);
            client.until('Z');
            let length = if protocol == startup::PROTOCOL_3_0 { 8 } else { 36 };
            assert_eq!(client.key().len(), length);
            for at in [wrong, own] {
                client.sleep(&world);
                send_cancel(at, client.key());
                assert_cancelled(&mut client);
            }
        }
    }
}

#[test]
fn a_request_with_a_wrong_secret_cancels_nothing() {
    let (world, _stops, second) = two_proxies();
    let mut client = Raw::start_at(world.address(), startup::PROTOCOL_3_2, &[]);
    client.until('Z');
    client.sleep(&world);
    let key = client.key().to_vec();
    let all_bits = (0..key.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    for (byte, bit) in all_bits.filter(|(byte, bit)| (byte + bit) % 7 == 0) {
        let mut wrong = key.clone();
        wrong[byte] ^= 1 << bit;
        // The hops that are left are no secret.
        if (byte, bit) != (7, 0) && (byte, bit) != (7, 1) {
            send_cancel(second, &wrong);
        }
    }
    send_cancel(second, &key[..8]);
    let asleep = "select count(*) from pg_stat_activity \
                  where state = 'active' and query = 'select pg_sleep(60)'";
    assert_eq!(world.node("coordinator").psql(asleep).unwrap(), "1");
    send_cancel(second, &key);
    assert_cancelled(&mut client);
}

#[tokio::test]
async fn requests_that_a_peer_deals_with_are_shown_until_it_is_done() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let more = format!(
        "[listen]\nport = 0\npeer_id = 1\nworkers = 2\n\
         [[peer]]\nid = 1\nhost = \"127.0.0.1\"\n[[peer]]\nid = 770\nhost = \"127.0.0.1\"\nport = {port}\n"
    );
    let world = World::before(cluster, with_consoles, &more);
    let console = console(&world, STATS).await;
    let pools = || async { show(&console, "peer_pools").await };
    let of = |rows: &[Row]| {
        let columns =
            ["cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"];
        columns.map(|column| find(rows, "peer_id", "770")[column].clone())
    };
    assert_eq!(pools().await.len(), 1, "this process is no peer of its own");
    let key = [0x12, 0x02, 0x03, 0xaa, 0xbb, 0xcc, 0xdd, 0xe3];
    let request = [&[0, 0, 0, 16, 4, 210, 22, 46][..], &key].concat();
    let mut requester = TcpStream::connect(world.address()).unwrap();
    requester.write_all(&request).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.read_exact(&mut [0; 16]).unwrap();
    assert_eq!(of(&pools().await), ["1", "0", "1", "0"]);
    drop(peer);
    // Its end is told to who has asked.
    assert_eq!(requester.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(of(&pools().await), ["0", "0", "0", "0"]);
    let lists = show(&console, "lists").await;
    assert_eq!(find(&lists, "list", "peer_pools")["items"], "1");
}

#[test]
fn what_a_peer_is_sent_has_the_documented_layout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "node = [{{ host = \"127.0.0.1\", port = 1, role = \"coordinator\" }}]\n\
         user = [{{ name = \"u\" }}]\n\
         peer = [{{ id = 770, host = \"127.0.0.1\", port = {port} }}]\n\
         [listen]\nport = 0\npeer_id = 1\nworkers = 1\n"
    );
    let server = Server::start(&Settings::from_toml(&text, "test").unwrap()).unwrap();
    let _stops = Stops(server.stopper());
    // 770 is 0x0302, the lower byte first; three hops are left, then two.
    let key = [0x12, 0x02, 0x03, 0xaa, 0xbb, 0xcc, 0xdd, 0xe3];
    let request = [&[0, 0, 0, 16, 4, 210, 22, 46][..], &key].concat();
    let mut requester = TcpStream::connect(server.address()).unwrap();
    requester.write_all(&request).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let mut sent = [0; 16];
    peer.read_exact(&mut sent).unwrap();
    let mut expected = request;
    expected[15] = 0xe2;
    assert_eq!(sent[..], expected);
    // Who has sent it waits for as long as the peer takes.
    requester.set_nonblocking(true).unwrap();
    let waits = requester.read(&mut [0; 1]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    requester.set_nonblocking(false).unwrap();
    drop(peer);
    assert_eq!(requester.read(&mut [0; 1]).unwrap(), 0);

    // No hop is left, or nobody has that number: it ends here.
    for (at, byte) in [(15, 0xe0), (9, 0x09)] {
        expected[15] = 0xe3;
        let mut request = expected.clone();
        request[at] = byte;
        let mut requester = TcpStream::connect(server.address()).unwrap();
        requester.write_all(&request).unwrap();
        assert_eq!(requester.read(&mut [0; 1]).unwrap(), 0);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing more was sent on");
}
