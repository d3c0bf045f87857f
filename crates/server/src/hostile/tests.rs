use pgherd_lab::hostile::{
    Edit, each_seed, edited, in_any_pieces, in_any_turns, input_of, input_of_lines, write_seeds,
};
use pgherd_wire::backend::{self as from_backend, Authentication};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, ClientExchange, Keys, Secret, ServerExchange};
use pgherd_wire::{HEADER, md5, startup};
use proptest::prelude::*;

use super::*;
use crate::relay::recorded::{bind, exchanges, execute, parse, replies, sync, turns};

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// Input that is right, and what the network may make of it.
fn nearly(right: Seeds) -> impl Strategy<Value = Vec<u8>> {
    let right: Vec<Vec<u8>> = right.into_iter().map(|(_, input)| input).collect();
    let edits = prop::collection::vec(any::<Edit>(), 0..8);
    (prop::sample::select(right), edits).prop_map(|(input, edits)| edited(&input, &edits))
}

/// What a client says that knows the password.
fn right_client_logins() -> Seeds {
    let mut startup = Vec::new();
    let parameters = [("user", "app"), ("database", "app"), ("options", "-c work_mem=1MB")];
    startup::put_startup(&mut startup, startup::PROTOCOL_3_2, parameters);
    let (exchange, first) = ClientExchange::start(b"nonce");
    let mut said = startup.clone();
    SaslInitial { mechanism: scram::MECHANISM, data: first.as_bytes() }.put(&mut said);
    let (_, _, told) = client_login(&[&said]);
    let challenge = &told[told.len() - continued(&told).len()..];
    let derive = |salt: &[u8], iterations| Keys::derive(PASSWORD, salt, iterations);
    let (_, proof) = exchange.prove(challenge, derive).unwrap();
    frontend::put_sasl_response(&mut said, proof.as_bytes());
    assert!(matches!(client_login(&[&said]).0, Some(LoginStep::Authenticated(_))));
    let answered = |method, answer: &str| {
        let mut said = startup.clone();
        frontend::put_password(&mut said, answer);
        let (step, ..) = client_login_by(method, &[&said]);
        assert!(matches!(step, Some(LoginStep::Authenticated(_))), "{step:?}");
        input_of(&said)
    };
    let ssl = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut cancel = Vec::new();
    startup::put_cancel(&mut cancel, 42, &[7; 4]);
    vec![
        ("scram", input_of(&said)),
        ("plain", answered(Method::Plain, PASSWORD)),
        ("md5", answered(Method::Md5, &md5::response("app", PASSWORD, [7; 4]))),
        ("ssl-first", input_of(&[&ssl[..], &said].concat())),
        ("cancel", input_of(&cancel)),
        ("refused", input_of(&[&startup[..], b"p\0\0\0\x08SCRA"].concat())),
    ]
}

/// The SCRAM message in the last of these messages.
fn continued(mut told: &[u8]) -> &[u8] {
    loop {
        let size = pgherd_wire::Frame::read(told, u32::MAX).unwrap().unwrap().size;
        let (message, rest) = told.split_at(size);
        if rest.is_empty() {
            return &message[HEADER + 4..];
        }
        told = rest;
    }
}

/// What nodes say that let us in, each in its way.
fn right_backend_logins() -> Seeds {
    let mut welcome = Vec::new();
    Authentication::Ok.put(&mut welcome);
    from_backend::put_parameter_status(&mut welcome, "TimeZone", "UTC");
    from_backend::put_key_data(&mut welcome, 42, &[1; 32]);
    from_backend::put_ready(&mut welcome, TxStatus::Idle);
    let after = |requests: &[Authentication<'_>]| {
        let mut said = Vec::new();
        requests.iter().for_each(|request| request.put(&mut said));
        let said = [&said[..], &welcome].concat();
        assert!(matches!(backend_login(&[&said]).0, Ok(Some(_))));
        input_of(&said)
    };
    // Our client's messages are the same each time, as what is random in them is.
    let mut random = [0; 18];
    no_random(&mut random);
    let (client, first) = ClientExchange::start(&random);
    let secret = Secret::from_password(PASSWORD, b"salt", 10);
    let (server, challenge) = ServerExchange::start(first.as_bytes(), b"node", secret).unwrap();
    let derive = |salt: &[u8], iterations| Keys::derive(PASSWORD, salt, iterations);
    let (_, proof) = client.prove(challenge.as_bytes(), derive).unwrap();
    let signature = server.check(proof.as_bytes()).unwrap().server_final;
    let (challenge, signature) = (challenge.as_bytes(), signature.as_bytes());
    vec![
        ("trust", after(&[])),
        ("cleartext", after(&[Authentication::Cleartext])),
        ("md5", after(&[Authentication::Md5 { salt: [1, 2, 3, 4] }])),
        (
            "scram",
            after(&[
                Authentication::Sasl { mechanisms: vec![scram::MECHANISM] },
                Authentication::SaslContinue(challenge),
                Authentication::SaslFinal(signature),
            ]),
        ),
        ("refused", input_of(&replies("E"))),
    ]
}

/// The exchanges of `relay::recorded`, and one that changes backends.
fn right_relays() -> Seeds {
    let mut all: Seeds = exchanges()
        .into_iter()
        .map(|(name, sent, answered)| {
            let mut answers = turns(&answered, b"Z").into_iter();
            let mut lines = Vec::new();
            for batch in turns(&sent, b"QS") {
                lines.push((true, batch));
                lines.extend(answers.next().map(|answer| (false, answer)));
            }
            lines.extend(answers.map(|answer| (false, answer)));
            (name, input_of_lines(lines))
        })
        .collect();
    let (mut first, mut next) = (Vec::new(), Vec::new());
    parse(&mut first, "mine", "select set_config('a.b', '1', false)");
    for out in [&mut first, &mut next] {
        bind(out, "mine");
        execute(out);
        sync(out);
    }
    let (parsed, bound) = (replies("12DCZ"), replies("12DCZ"));
    let lines =
        [(true, &first[..]), (false, &parsed), (false, b""), (true, &next), (false, &bound)];
    all.push(("another-backend", input_of_lines(lines)));
    let failed = replies("EZ");
    let lines = [(true, &first[..]), (false, &failed), (true, &next), (false, &bound)];
    all.push(("failed", input_of_lines(lines)));
    let mut begins = Vec::new();
    frontend::put_query(&mut begins, "START_REPLICATION 0/0");
    let (streams, ends) = (replies("Wdd"), replies("dcCZ"));
    let status = replies("dc");
    let lines = [(true, &begins[..]), (false, &streams), (true, &status), (false, &ends)];
    all.push(("stream", input_of_lines(lines)));
    all
}

/// The first batches of the same.
fn right_batches() -> Seeds {
    let all = exchanges().into_iter();
    all.map(|(name, sent, _)| {
        let first = turns(&sent, b"QS").first().map_or(&[][..], |batch| batch).to_vec();
        (name, input_of(&first))
    })
    .collect()
}

/// What is said at consoles, in both protocols.
fn right_console_sessions() -> Seeds {
    let (mut simple, mut extended) = (Vec::new(), Vec::new());
    frontend::put_query(&mut simple, "SHOW POOLS; show help; set \"a\" = 'it''s';");
    frontend::put_query(&mut simple, "begin; pause \"my \"\"db\"\"\" -- a comment");
    frontend::put_query(&mut simple, "kill_client 12; shutdown wait_for_clients");
    parse(&mut extended, "mine", "SELECT stats");
    frontend::Target::Statement(b"mine").put(&mut extended, frontend::DESCRIBE);
    bind(&mut extended, "mine");
    execute(&mut extended);
    frontend::Target::Portal(b"").put(&mut extended, frontend::CLOSE);
    sync(&mut extended);
    frontend::put_terminate(&mut extended);
    vec![("simple", input_of(&simple)), ("extended", input_of(&extended))]
}

/// A node may ask for millions of iterations, which takes seconds; not here.
fn run_backend_login(input: &[u8]) {
    if !asks_for_many_iterations(input) {
        in_any_pieces(input, backend_login);
    }
}

#[test]
fn each_seed_holds() {
    write_seeds("client_login", right_client_logins());
    write_seeds("backend_login", right_backend_logins());
    write_seeds("relay", right_relays());
    write_seeds("survey", right_batches());
    write_seeds("console", right_console_sessions());
    each_seed("client_login", |input| {
        for method in [Method::Scram, Method::Md5, Method::Plain] {
            in_any_pieces(input, |pieces| client_login_by(method, pieces));
        }
    });
    each_seed("backend_login", run_backend_login);
    each_seed("relay", |input| in_any_turns(input, relay));
    each_seed("survey", |input| in_any_pieces(input, survey));
    each_seed("console", |input| in_any_pieces(input, console));
}

proptest! {
    #[test]
    fn any_bytes_hold(input in bytes()) {
        in_any_pieces(&input, client_login);
        run_backend_login(&input);
        in_any_turns(&input, relay);
        in_any_pieces(&input, survey);
        in_any_pieces(&input, console);
    }

    #[test]
    fn consoles_that_were_changed_hold(input in nearly(right_console_sessions())) {
        in_any_pieces(&input, console);
    }

    #[test]
    fn logins_of_clients_that_were_changed_hold(input in nearly(right_client_logins())) {
        in_any_pieces(&input, client_login);
    }

    #[test]
    fn logins_at_nodes_that_were_changed_hold(input in nearly(right_backend_logins())) {
        run_backend_login(&input);
    }

    #[test]
    fn exchanges_that_were_changed_hold(input in nearly(right_relays())) {
        in_any_turns(&input, relay);
    }

    #[test]
    fn batches_that_were_changed_hold(input in nearly(right_batches())) {
        in_any_pieces(&input, survey);
    }

    // Nobody can make us keep a message that we would refuse once it is there.
    #[test]
    fn a_message_is_refused_goes_on_in_parts_or_is_kept_within_its_limit(
        from_client in prop::sample::select(b"BCDEFHPQSXcdf".to_vec()),
        from_backend in prop::sample::select(b"123ACDEGHINSTVWZcdnst".to_vec()),
        length in 4..u32::MAX,
        there in 0..70_000_usize,
    ) {
        let there = there.min(length as usize - 4);
        let body = [&length.to_be_bytes()[..], &vec![b'a'; there]].concat();
        let is_whole = there == length as usize - 4;

        let mut kept = [&[from_client][..], &body].concat();
        let limit = if from_client == frontend::PARSE { 16 << 20 } else { 64 << 10 };
        if Scene::new().client_says(&mut kept).is_ok() && !is_whole && !kept.is_empty() {
            // Of a Bind the names are waited for, and no more of it.
            let waited_for = if from_client == frontend::BIND { kept.len() } else { length as usize };
            prop_assert!(waited_for <= limit, "{waited_for} bytes of a client are waited for");
        }

        let mut kept = [&[from_backend][..], &body].concat();
        if Scene::new().backend_says(&mut kept).is_ok() && !is_whole && !kept.is_empty() {
            prop_assert!(length <= 1 << 20, "{length} bytes of a node are waited for");
        }
    }
}
