use super::*;
use proptest::prelude::*;

fn shown(replies: &mut Replies, tags: &[u8]) -> String {
    let mut seen = String::new();
    for tag in tags {
        if replies.on_reply(*tag).unwrap().show == Show::Client {
            seen.push(char::from(*tag));
        }
        while let Some(tag) = replies.next_synthetic() {
            seen.push(char::from(tag));
        }
    }
    seen
}

fn queue(expects: &[Expect]) -> Replies {
    let mut replies = Replies::new();
    for expect in expects {
        replies.expect(*expect);
    }
    replies
}

const OWN_PARSE: Expect = Expect::Parse { show: Show::Nobody, statement: Some(7) };
const PARSE: Expect = Expect::Parse { show: Show::Client, statement: Some(8) };
const SYNC: Expect = Expect::Sync(Show::Client);

#[test]
fn an_injected_parse_is_swallowed_and_a_withheld_one_is_made_up() {
    let mut replies = queue(&[
        OWN_PARSE,
        Expect::Bind,
        Expect::Execute,
        Expect::MadeUp(b'1'),
        Expect::Bind,
        SYNC,
    ]);
    assert_eq!(shown(&mut replies, b"12DC2Z"), "2DC12Z");
    assert!(replies.is_empty());
}

#[test]
fn an_error_drops_everything_up_to_the_next_sync() {
    let mut replies = queue(&[PARSE, Expect::Bind, Expect::MadeUp(b'3'), SYNC, PARSE, SYNC]);
    assert_eq!(shown(&mut replies, b"EZ1Z"), "EZ1Z");
    assert_eq!(replies.take_dropped().collect::<Vec<_>>(), [8]);
    assert!(replies.is_empty());
}

#[test]
fn after_an_error_what_comes_before_the_sync_is_not_expected() {
    let mut replies = queue(&[Expect::Bind, Expect::Execute]);
    assert_eq!(shown(&mut replies, b"E"), "E");
    assert!(replies.is_skipping());
    assert!(!replies.expect(PARSE));
    assert!(!replies.expect(Expect::MadeUp(b'1')));
    assert!(!replies.expect(Expect::Query(Show::Client)));
    assert!(replies.expect(SYNC));
    assert_eq!(shown(&mut replies, b"Z"), "Z");
    assert!(replies.is_empty());
}

#[test]
fn an_error_in_a_simple_query_keeps_its_end() {
    let mut replies = queue(&[Expect::Query(Show::Client), Expect::Query(Show::Client)]);
    assert_eq!(shown(&mut replies, b"TDCEZTDCZ"), "TDCEZTDCZ");
    assert!(replies.is_empty());
}

#[test]
fn a_sync_sent_before_the_copy_data_is_never_answered() {
    // What libpq sends for an extended COPY FROM STDIN.
    let mut replies = queue(&[PARSE, Expect::Bind, Expect::Describe, Expect::Execute, SYNC]);
    assert_eq!(shown(&mut replies, b"12nG"), "12nG");
    assert!(replies.is_copying_in());
    assert!(!replies.expect(SYNC), "ignored while copying");
    replies.expect(Expect::CopyEnd);
    assert!(replies.expect(SYNC));
    assert_eq!(shown(&mut replies, b"CZ"), "CZ");
    assert!(replies.is_empty());
}

#[test]
fn a_copy_pipelined_in_one_go_is_answered_once() {
    let mut replies =
        queue(&[PARSE, Expect::Bind, Expect::Execute, SYNC, Expect::CopyEnd, SYNC, PARSE, SYNC]);
    assert_eq!(shown(&mut replies, b"12GCZ1Z"), "12GCZ1Z");
    assert!(replies.is_empty());
}

#[test]
fn a_copy_that_never_began_answers_both_syncs() {
    let mut replies = queue(&[PARSE, Expect::Bind, Expect::Execute, SYNC, Expect::CopyEnd, SYNC]);
    assert_eq!(shown(&mut replies, b"12EZZ"), "12EZZ");
    assert!(replies.is_empty());
}

#[test]
fn a_copy_that_fails_half_way_waits_for_the_sync() {
    let mut replies = queue(&[Expect::Bind, Expect::Execute, SYNC]);
    assert_eq!(shown(&mut replies, b"2GE"), "2GE");
    assert!(!replies.expect(Expect::CopyEnd));
    assert!(replies.expect(SYNC));
    assert_eq!(shown(&mut replies, b"Z"), "Z");
    assert!(replies.is_empty());
}

#[test]
fn a_stream_ends_with_its_query_whichever_side_ends_first() {
    for client_first in [true, false] {
        let mut replies = queue(&[Expect::Query(Show::Client)]);
        assert_eq!(shown(&mut replies, b"Wdd"), "Wdd");
        assert!(replies.is_copying_both() && replies.is_copying_in());
        if client_first {
            assert!(!replies.expect(Expect::CopyEnd));
        }
        // The backend sends on until it has read that, and tells where the next timeline begins.
        assert_eq!(shown(&mut replies, b"ddc"), "ddc");
        if !client_first {
            assert!(!replies.expect(Expect::CopyEnd));
        }
        assert!(replies.is_copying_both() && !replies.is_copying_in());
        assert_eq!(shown(&mut replies, b"TDCCZ"), "TDCCZ");
        assert!(!replies.is_copying_both() && replies.is_empty());
    }
}

#[test]
fn a_stream_that_fails_leaves_nothing_owed_but_the_end_of_its_query() {
    let mut replies = queue(&[Expect::Query(Show::Client)]);
    assert_eq!(shown(&mut replies, b"WdE"), "WdE");
    assert!(!replies.is_copying_both() && !replies.is_copying_in());
    // Sent before the client had heard of the error.
    replies.expect(Expect::CopyEnd);
    assert_eq!(shown(&mut replies, b"Z"), "Z");
    assert!(replies.is_empty());
}

#[test]
fn a_parse_of_the_unnamed_statement_fails_itself_or_is_skipped() {
    const UNNAMED: Expect = Expect::Unnamed { closes: false };
    let mut replies = queue(&[UNNAMED, UNNAMED, Expect::Bind, SYNC, UNNAMED, SYNC]);
    assert_eq!(replies.on_reply(b'1').unwrap().settled, Some(Settled::Unnamed));
    assert_eq!(shown(&mut replies, b"E"), "E");
    let dropped = DroppedUnnamed { count: 1, is_cause: true };
    assert_eq!(replies.take_dropped_unnamed(), dropped);
    assert_eq!(shown(&mut replies, b"Z1Z"), "Z1Z");
    let mut replies = queue(&[Expect::Bind, UNNAMED, Expect::Unnamed { closes: true }, SYNC]);
    assert_eq!(shown(&mut replies, b"EZ"), "EZ");
    let dropped = DroppedUnnamed { count: 2, is_cause: false };
    assert_eq!(replies.take_dropped_unnamed(), dropped);
    assert_eq!(replies.take_dropped_unnamed(), DroppedUnnamed::default());
}

#[test]
fn a_reply_to_nothing_is_an_error() {
    assert!(queue(&[]).on_reply(b'Z').is_err());
    assert!(queue(&[Expect::Bind]).on_reply(b'1').is_err());
    assert!(queue(&[Expect::Execute]).on_reply(b'Z').is_err());
}

#[test]
fn notices_and_parameters_pass_at_any_time() {
    for tag in *b"NAS" {
        assert_eq!(queue(&[]).on_reply(tag).unwrap().show, Show::Client);
    }
}

/// A backend that obeys the protocol: answers a pipeline of extended messages, failing at one.
fn model(expects: &[Expect], fails: Option<usize>) -> (Vec<u8>, String) {
    let (mut sent, mut seen) = (Vec::new(), String::new());
    let mut skipping = false;
    for (at, expect) in expects.iter().enumerate() {
        let (reply, show) = match expect {
            Expect::Sync(show) => {
                skipping = false;
                (b'Z', *show)
            }
            _ if skipping => continue,
            Expect::MadeUp(tag) => {
                seen.push(char::from(*tag));
                continue;
            }
            _ if fails == Some(at) => {
                skipping = true;
                (b'E', Show::Client)
            }
            Expect::Parse { show, .. } => (b'1', *show),
            Expect::Bind => (b'2', Show::Client),
            Expect::Describe => (b'T', Show::Client),
            Expect::Execute => (b'C', Show::Client),
            Expect::Close(show) => (b'3', *show),
            Expect::Unnamed { closes } => (if *closes { b'3' } else { b'1' }, Show::Client),
            Expect::Query(_) | Expect::CopyEnd => continue,
        };
        sent.push(reply);
        if show == Show::Client {
            seen.push(char::from(reply));
        }
    }
    (sent, seen)
}

fn extended() -> impl Strategy<Value = Expect> {
    prop_oneof![
        Just(PARSE),
        Just(OWN_PARSE),
        Just(Expect::Bind),
        Just(Expect::Describe),
        Just(Expect::Execute),
        Just(Expect::Close(Show::Client)),
        Just(Expect::Close(Show::Nobody)),
        Just(Expect::MadeUp(b'1')),
        Just(Expect::MadeUp(b'3')),
        any::<bool>().prop_map(|closes| Expect::Unnamed { closes }),
        Just(SYNC),
    ]
}

proptest! {
    // The injected Parse may fail too: its error goes to the client, who asked for what it
    // was injected for.
    #[test]
    fn any_pipeline_shows_the_client_what_it_asked_for(
        mut expects in prop::collection::vec(extended(), 0..30),
        fails in prop::option::of(0usize..30),
    ) {
        expects.push(SYNC);
        let (sent, seen) = model(&expects, fails);
        let mut replies = queue(&expects);
        let mut shown_first = String::new();
        while let Some(tag) = replies.next_synthetic() {
            shown_first.push(char::from(tag));
        }
        let shown = shown_first + &shown(&mut replies, &sent);
        prop_assert_eq!(shown, seen);
        prop_assert!(replies.is_empty());
    }

    #[test]
    fn no_reply_makes_it_panic(
        expects in prop::collection::vec(extended(), 0..10),
        tags in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut replies = queue(&expects);
        for tag in tags {
            let _ = replies.on_reply(tag);
            while replies.next_synthetic().is_some() {}
        }
    }
}
