use pgherd_lab::hostile::{
    Edit, each_seed, edited, in_any_pieces, input_of, input_of_lines, said_by_each, write_seeds,
};
use proptest::prelude::*;

use super::*;
use crate::TxStatus;
use crate::backend::{Report, Severity};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(any::<Edit>(), 0..8)
}

/// Input that is right, and what the network may make of it.
fn nearly(right: Vec<(&'static str, Vec<u8>)>) -> impl Strategy<Value = Vec<u8>> {
    let right: Vec<Vec<u8>> = right.into_iter().map(|(_, input)| input).collect();
    (prop::sample::select(right), edits()).prop_map(|(input, edits)| edited(&input, &edits))
}

/// Two messages and the beginning of a third.
fn right_frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut said = Vec::new();
    frontend::put_query(&mut said, "select 1");
    frontend::put_terminate(&mut said);
    said.extend_from_slice(b"Q\0\0\x01");
    vec![("two-and-a-half", input_of(&said))]
}

fn right_first_packets() -> Vec<(&'static str, Vec<u8>)> {
    let packet = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        input_of(&out)
    };
    let parameters = [("user", "app"), ("database", "app"), ("options", "-c work_mem=1MB")];
    vec![
        ("startup", packet(&|out| startup::put_startup(out, startup::PROTOCOL_3_2, parameters))),
        ("cancel", packet(&|out| startup::put_cancel(out, 42, &[7; 32]))),
        ("ssl", input_of(&[0, 0, 0, 8, 4, 210, 22, 47])),
        ("gss", input_of(&[0, 0, 0, 8, 4, 210, 22, 48])),
    ]
}

fn body(put: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out.split_off(HEADER)
}

fn right_from_client() -> Vec<(&'static str, Vec<u8>)> {
    let initial = SaslInitial { mechanism: "SCRAM-SHA-256", data: b"n,,n=,r=abc" };
    let types = [0, 1, 0, 0, 0, 23];
    vec![
        ("parse", body(|out| frontend::put_parse(out, b"s1", b"select $1", &types))),
        ("bind", body(|out| frontend::put_bind(out, b"p", b"s1", &[0; 6]))),
        ("describe", body(|out| Target::Statement(b"s1").put(out, frontend::DESCRIBE))),
        ("close", body(|out| Target::Portal(b"p").put(out, frontend::CLOSE))),
        ("sasl-initial", body(|out| initial.put(out))),
    ]
}

fn right_from_server() -> Vec<(&'static str, Vec<u8>)> {
    let request = |request: Authentication<'_>| body(|out| request.put(out));
    let report = Report {
        severity: Severity::Fatal,
        code: "57P01",
        message: "going down",
        detail: "",
        hint: "wait",
    };
    let mechanisms = vec!["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
    vec![
        ("ok", request(Authentication::Ok)),
        ("cleartext", request(Authentication::Cleartext)),
        ("md5", request(Authentication::Md5 { salt: [1, 2, 3, 4] })),
        ("sasl", request(Authentication::Sasl { mechanisms })),
        ("sasl-continue", request(Authentication::SaslContinue(b"r=x,s=y,i=1"))),
        ("parameter", body(|out| backend::put_parameter_status(out, "TimeZone", "UTC"))),
        ("key", body(|out| backend::put_key_data(out, 42, &[1; 32]))),
        ("ready", body(|out| backend::put_ready(out, TxStatus::Failed))),
        ("row", b"\0\x02\0\0\0\x01x\xff\xff\xff\xff".to_vec()),
        ("error", body(|out| report.put(out))),
    ]
}

/// A login in which both know the password, as the lines that each says.
fn right_scram() -> Vec<(&'static str, Vec<u8>)> {
    let secret = Secret::from_password(PASSWORD, b"salt", 1);
    let (client, client_first) = ClientExchange::start(NONCE);
    let (server, server_first) =
        ServerExchange::start(client_first.as_bytes(), NONCE, secret).unwrap();
    let derive = |salt: &[u8], iterations| Keys::derive(PASSWORD, salt, iterations);
    let (client, client_final) = client.prove(server_first.as_bytes(), derive).unwrap();
    let server_final = server.check(client_final.as_bytes()).unwrap().server_final;
    client.verify(server_final.as_bytes()).unwrap();
    let lines =
        [(true, client_first), (false, server_first), (true, client_final), (false, server_final)];
    let lines = lines.iter().map(|(asks, line)| (*asks, line.as_bytes()));
    let stored = Secret::from_password(PASSWORD, b"salt", 1).to_text();
    vec![("login", input_of_lines(lines)), ("stored", input_of_lines([(true, stored.as_bytes())]))]
}

fn right_replies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("extended", b"\xa1\x83\x84\x85\x8812TDCZ".to_vec()),
        ("injected", b"\xb1\x83\x85\x8b\x83\x88\x6112DC2Z".to_vec()),
        ("failed", b"\xa1\x83\x85EZ\x88Z\x801\x80".to_vec()),
        ("copy", b"\x83\x85\x882G\x8d\x88CZ".to_vec()),
        ("copy-fails", b"\x83\x85\x88\x882GEZ\x8d\x88Z".to_vec()),
    ]
}

fn run_scram(input: &[u8]) {
    let [client, server] = said_by_each(input);
    scram(&client, &server);
}

#[test]
fn each_seed_holds() {
    write_seeds("frames", right_frames());
    write_seeds("first_packet", right_first_packets());
    write_seeds("from_client", right_from_client());
    write_seeds("from_server", right_from_server());
    write_seeds("scram", right_scram());
    write_seeds("replies", right_replies());
    each_seed("frames", |input| in_any_pieces(input, frames));
    each_seed("first_packet", |input| in_any_pieces(input, first_packet));
    each_seed("from_client", from_client);
    each_seed("from_server", from_server);
    each_seed("scram", run_scram);
    each_seed("replies", replies);
}

proptest! {
    #[test]
    fn any_bytes_hold(input in bytes()) {
        in_any_pieces(&input, frames);
        in_any_pieces(&input, first_packet);
        from_client(&input);
        from_server(&input);
        run_scram(&input);
        replies(&input);
    }

    #[test]
    fn any_length_is_refused_or_may_be_waited_for(tag in any::<u8>(), length in any::<u32>()) {
        absurd_length(tag, length);
    }

    #[test]
    fn frames_that_were_changed_on_their_way_hold(input in nearly(right_frames())) {
        in_any_pieces(&input, frames);
    }

    #[test]
    fn first_packets_that_were_changed_hold(input in nearly(right_first_packets())) {
        in_any_pieces(&input, first_packet);
    }

    #[test]
    fn clients_messages_that_were_changed_hold(input in nearly(right_from_client())) {
        from_client(&input);
    }

    #[test]
    fn servers_messages_that_were_changed_hold(input in nearly(right_from_server())) {
        from_server(&input);
    }

    #[test]
    fn scram_messages_that_were_changed_prove_nothing(input in nearly(right_scram())) {
        run_scram(&input);
    }

    #[test]
    fn replies_in_another_order_hold(input in nearly(right_replies())) {
        replies(&input);
    }
}
