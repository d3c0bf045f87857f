use proptest::prelude::*;

use super::*;

fn shards(ids: &[u16]) -> Shards {
    ids.iter().copied().map(ShardId).collect()
}

const ANCHOR: ShardId = ShardId(0);
const A: ShardId = ShardId(1);
const B: ShardId = ShardId(2);

/// Runs events through a transaction of three; the last state and the last actions.
fn run(events: &[TxnEvent]) -> (TxnState, Vec<Action>) {
    let mut now = TxnState::begin(ANCHOR, shards(&[1, 2]));
    for event in events {
        now = now.0.on(*event).unwrap();
    }
    now
}

#[test]
fn the_others_prepare_then_the_anchor_decides_then_the_others_commit() {
    use TxnEvent::{AnchorCommitted, Finished, Prepared};
    assert_eq!(run(&[]).1, [Action::Prepare(A), Action::Prepare(B)]);
    assert_eq!(run(&[Prepared(A)]).1, []);
    assert_eq!(run(&[Prepared(A), Prepared(B)]).1, [Action::Decide(ANCHOR)]);
    let decided = [Prepared(A), Prepared(B), AnchorCommitted];
    assert_eq!(run(&decided).1, [Action::CommitPrepared(A), Action::CommitPrepared(B)]);
    let (state, _) = run(&[&decided[..], &[Finished(B), Finished(A)]].concat());
    assert_eq!(state, TxnState::Done(Outcome::Committed));
    let (state, _) = run(&[&decided[..], &[Finished(B), TxnEvent::GaveUp]].concat());
    assert_eq!(state, TxnState::Done(Outcome::CommittedPending(shards(&[1]))));
}

#[test]
fn one_refusal_rolls_everybody_back() {
    use TxnEvent::{Finished, MaybePrepared, NotPrepared, Prepared};
    // Only once everybody has answered: before that it is not known what there is to undo.
    assert_eq!(run(&[NotPrepared(A)]).1, []);
    let (state, actions) = run(&[NotPrepared(A), Prepared(B)]);
    assert_eq!(actions, [Action::RollBack(ANCHOR), Action::RollBackPrepared(B)]);
    assert_eq!(state.on(Finished(B)).unwrap().0, TxnState::Done(Outcome::RolledBack));
    let (state, actions) = run(&[MaybePrepared(A), Prepared(B)]);
    let expected =
        [Action::RollBack(ANCHOR), Action::RollBackPrepared(B), Action::RollBackUncertain(A)];
    assert_eq!(actions, expected);
    let (state, _) = state.on(Finished(B)).unwrap();
    let left = Outcome::RolledBackPending(shards(&[1]));
    assert_eq!(state.on(TxnEvent::GaveUp).unwrap().0, TxnState::Done(left));
    let (state, actions) = run(&[NotPrepared(A), NotPrepared(B)]);
    assert_eq!(
        (state, actions),
        (TxnState::Done(Outcome::RolledBack), vec![Action::RollBack(ANCHOR)])
    );
}

#[test]
fn an_anchor_that_is_lost_is_asked_and_one_that_refuses_rolls_back() {
    use TxnEvent::{AnchorLost, AnchorRefused, Prepared, Resolved};
    let (state, actions) = run(&[Prepared(A), Prepared(B), AnchorLost]);
    assert_eq!(actions, [Action::Resolve(ANCHOR)]);
    let (_, actions) = state.clone().on(Resolved(Decided::Commit)).unwrap();
    assert_eq!(actions, [Action::CommitPrepared(A), Action::CommitPrepared(B)]);
    let (_, actions) = state.clone().on(Resolved(Decided::Abort)).unwrap();
    assert_eq!(actions, [Action::RollBackPrepared(A), Action::RollBackPrepared(B)]);
    let (state, _) = state.on(TxnEvent::GaveUp).unwrap();
    assert_eq!(state, TxnState::Done(Outcome::Unknown(shards(&[1, 2]))));
    let (_, actions) = run(&[Prepared(A), Prepared(B), AnchorRefused]);
    assert_eq!(actions, [Action::RollBackPrepared(A), Action::RollBackPrepared(B)]);
}

#[test]
fn what_does_not_fit_is_told_and_changes_nothing() {
    let (state, _) = run(&[]);
    let unexpected = state.clone().on(TxnEvent::AnchorCommitted).unwrap_err();
    assert_eq!(unexpected.state, state);
    assert!(state.clone().on(TxnEvent::Prepared(ANCHOR)).is_err());
    let (state, _) = state.on(TxnEvent::Prepared(A)).unwrap();
    assert!(state.on(TxnEvent::Prepared(A)).is_err(), "it has answered already");
}

fn any_event() -> impl Strategy<Value = TxnEvent> {
    let shard = (0u16..4).prop_map(ShardId);
    prop_oneof![
        shard.clone().prop_map(TxnEvent::Prepared),
        shard.clone().prop_map(TxnEvent::Prepared),
        shard.clone().prop_map(TxnEvent::NotPrepared),
        shard.clone().prop_map(TxnEvent::MaybePrepared),
        shard.prop_map(TxnEvent::Finished),
        Just(TxnEvent::AnchorCommitted),
        Just(TxnEvent::AnchorRefused),
        Just(TxnEvent::AnchorLost),
        Just(TxnEvent::Resolved(Decided::Commit)),
        Just(TxnEvent::Resolved(Decided::Abort)),
        Just(TxnEvent::GaveUp),
    ]
}

proptest! {
    #[test]
    fn nobody_commits_before_the_decision_and_nobody_rolls_back_after_it(
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        let (mut state, _) = TxnState::begin(ANCHOR, shards(&[1, 2, 3]));
        let (mut prepared, mut is_decided) = (Shards::new(), None);
        for event in events {
            let Ok((next, actions)) = state.clone().on(event) else { continue };
            state = next;
            match event {
                TxnEvent::Prepared(shard) => drop(prepared.insert(shard)),
                TxnEvent::AnchorCommitted | TxnEvent::Resolved(Decided::Commit) => {
                    is_decided = Some(Decided::Commit);
                }
                TxnEvent::AnchorRefused | TxnEvent::Resolved(Decided::Abort) => {
                    is_decided = Some(Decided::Abort);
                }
                _ => {}
            }
            for action in actions {
                match action {
                    Action::CommitPrepared(_) => prop_assert_eq!(is_decided, Some(Decided::Commit)),
                    Action::RollBackPrepared(_) | Action::RollBackUncertain(_) | Action::RollBack(_) =>
                        prop_assert_ne!(is_decided, Some(Decided::Commit)),
                    Action::Decide(shard) => {
                        prop_assert_eq!(shard, ANCHOR);
                        prop_assert_eq!(&prepared, &shards(&[1, 2, 3]));
                    }
                    Action::Prepare(_) | Action::Resolve(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_printed_name_reads_back(
        cluster in "[a-zA-Z0-9_-]{1,32}", instance in "[0-9a-f]{8}",
        epoch: u64, anchor: u16, number: u64, shard: u16,
    ) {
        let (anchor, shard) = (ShardId(anchor), ShardId(shard));
        let gid = Gid { cluster, instance, epoch, anchor, number };
        let prepared = gid.prepared(shard);
        prop_assert!(prepared.len() <= Gid::LONGEST_BYTES);
        prop_assert_eq!(Gid::parse_prepared(&prepared), Ok((gid.clone(), shard)));
        prop_assert_eq!(gid.to_string().parse(), Ok(gid));
    }

    #[test]
    fn reading_a_name_never_panics(name in ".{0,40}") {
        let _ = Gid::parse_prepared(&name);
        let _ = Gid::parse_prepared(&format!("pgherd_{name}"));
    }
}
