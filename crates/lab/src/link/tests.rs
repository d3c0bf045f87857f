use super::*;
use std::io::ErrorKind;

/// A server that sends back what it gets, and a link to it.
fn echo() -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (&stream, &stream);
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
    });
    Link::to(address).unwrap()
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect(link.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn says(mut stream: &TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn a_healthy_link_carries_both_ways() {
    let link = echo();
    let stream = connect(&link);
    assert_eq!(says(&stream, "hello").unwrap(), "hello");
    assert_eq!(link.connections(), 1);
}

#[test]
fn a_cut_ends_connections_and_new_ones_work() {
    let link = echo();
    let stream = connect(&link);
    says(&stream, "hello").unwrap();
    link.cut();
    assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(says(&connect(&link), "again").unwrap(), "again");
}

#[test]
fn a_reset_is_an_error_to_the_client() {
    let link = echo();
    let stream = connect(&link);
    says(&stream, "hello").unwrap();
    link.reset();
    let mut outcome = (&stream).read(&mut [0; 8]);
    // What is written to a connection that was reset shows it at the latest.
    if outcome.is_ok() {
        let _ = (&stream).write_all(b"more");
        outcome = (&stream).read(&mut [0; 8]);
    }
    assert!(
        outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "an end is not a reset"
    );
}

#[test]
fn a_stalled_link_delivers_once_it_is_healthy_again() {
    let link = echo();
    let stream = connect(&link);
    says(&stream, "hello").unwrap();
    link.set(Mode::Stalled);
    (&stream).write_all(b"late").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = (&stream).read(&mut [0; 4]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    link.set(Mode::Healthy);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 4];
    (&stream).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"late");
}

#[test]
fn a_half_open_link_swallows_answers() {
    let link = echo();
    let stream = connect(&link);
    says(&stream, "hello").unwrap();
    link.set(Mode::HalfOpen);
    (&stream).write_all(b"lost").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!((&stream).read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_closed_link_turns_everybody_away_and_a_slow_one_is_slow() {
    let link = echo();
    link.set(Mode::Closed);
    assert!(says(&connect(&link), "hello").is_err());
    link.set(Mode::Slow { delay: Duration::from_millis(50), bytes_per_second: u32::MAX });
    let stream = connect(&link);
    let before = std::time::Instant::now();
    says(&stream, "hello").unwrap();
    assert!(before.elapsed() >= Duration::from_millis(100), "50 ms each way");
}

#[test]
fn a_slow_link_keeps_to_its_rate() {
    let link = echo();
    let stream = connect(&link);
    link.set(Mode::Slow { delay: Duration::ZERO, bytes_per_second: 10_000 });
    let before = std::time::Instant::now();
    says(&stream, &"x".repeat(1000)).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(200), "1000 bytes, there and back");
}

#[test]
fn the_end_of_a_node_behind_a_half_open_link_is_not_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = Link::to(listener.local_addr().unwrap()).unwrap();
    let stream = connect(&link);
    let (node, _) = listener.accept().unwrap();
    link.set(Mode::HalfOpen);
    drop(node);
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!((&stream).read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
}
