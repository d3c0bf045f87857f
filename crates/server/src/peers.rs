//! Other processes behind the same address, and whose client a cancel request is for.
//!
//! In: clients that log in, the key of a cancel request. Out: a key for each client, in a layout that
//! PgBouncer shares; the client or the peer that the request is for.
//!
//! A key says nothing about the client but which process has it: all else in it is random, and looked
//! up. So 45 bits are to be guessed, of a long key 269.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgherd_core::Settings;
use pgherd_core::hosts;
use pgherd_core::settings::HostBalance;
use pgherd_wire::CancelKey;

use crate::addresses::Addresses;

/// See the module's header. All cores share it.
#[derive(Debug)]
pub struct Peers {
    own: u16,
    // By number, the place of each among the addresses.
    places: BTreeMap<u16, usize>,
    addresses: Arc<Addresses>,
    // Held for a look-up: at a login, its end, and a cancel request.
    clients: Mutex<HashMap<CancelKey, Holder>>,
}

/// Who has a key: a client, by its key on its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) core: usize,
    pub(crate) client: usize,
}

/// What becomes of a cancel request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// It is for a client of ours, whose secret must be this.
    Here(Holder, Vec<u8>),
    /// It is for a client of the peer at this place, with this key.
    Peer { place: usize, pid: u32, secret: Vec<u8> },
    /// It is for nobody.
    Nowhere(&'static str),
}

impl Peers {
    /// `None` where the settings have no `listen.peer_id`.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let own = settings.listen.peer_id;
        if own == 0 {
            return None;
        }
        let others = || settings.peers.iter().filter(|peer| peer.id != own);
        let place = |peer: &pgherd_core::settings::PeerSettings| {
            let hosts =
                hosts::read(&peer.host, peer.port).expect("the settings' hosts were checked");
            (format!("peer {}", peer.id), hosts, HostBalance::RoundRobin)
        };
        Some(Self {
            own,
            places: others().map(|peer| peer.id).zip(0..).collect(),
            addresses: Arc::new(Addresses::new(others().map(place))),
            clients: Mutex::default(),
        })
    }

    /// Where the peers are.
    pub(crate) fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// The place of a peer among the addresses, by its number; none has this process.
    pub(crate) fn place(&self, id: u16) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// A key for a client that has logged in.
    pub(crate) fn register(&self, holder: Holder, mut random: impl FnMut(&mut [u8])) -> CancelKey {
        let mut clients = self.lock();
        loop {
            let mut bytes = [0; 8];
            random(&mut bytes);
            let key = CancelKey::new(self.own, bytes);
            if let std::collections::hash_map::Entry::Vacant(entry) = clients.entry(key) {
                entry.insert(holder);
                return key;
            }
        }
    }

    /// The client that was given this key is gone.
    pub(crate) fn forget(&self, key: CancelKey) {
        self.lock().remove(&key);
    }

    /// Where a cancel request goes.
    pub(crate) fn direct(&self, pid: u32, secret: &[u8]) -> Direction {
        let Some(key) = CancelKey::read(pid, secret) else {
            return Direction::Nowhere("its key is too short");
        };
        let with_rest = |key: CancelKey| [&key.secret(), &secret[4..]].concat();
        if key.peer() == self.own {
            let given = key.given();
            return match self.lock().get(&given) {
                Some(holder) => Direction::Here(*holder, with_rest(given)),
                None => Direction::Nowhere("no client has its key"),
            };
        }
        match (self.places.get(&key.peer()), key.hop()) {
            (None, _) => Direction::Nowhere("no [[peer]] has its number"),
            (Some(_), None) => Direction::Nowhere("it has come over too many peers"),
            (Some(place), Some(next)) => {
                Direction::Peer { place: *place, pid: next.pid(), secret: with_rest(next) }
            }
        }
    }

    /// How many clients have a key.
    #[cfg(test)]
    pub(crate) fn clients(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CancelKey, Holder>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peers() -> Peers {
        let text = "node = [{ host = \"a\", role = \"coordinator\" }]\nuser = [{ name = \"u\" }]\n\
                    peer = [{ id = 2, host = \"b\" }, { id = 1, host = \"a\" }, { id = 9, host = \"c\" }]\n\
                    [listen]\npeer_id = 1";
        Peers::of(&Settings::from_toml(text, "test").unwrap()).unwrap()
    }

    const HOLDER: Holder = Holder { core: 3, client: 77 };

    #[test]
    fn a_client_is_found_by_its_key_and_no_longer_than_it_is_there() {
        let peers = peers();
        let key = peers.register(HOLDER, |bytes| bytes.fill(0x55));
        let rest = [7; 28];
        let secret = [&key.secret()[..], &rest].concat();
        assert_eq!(peers.direct(key.pid(), &secret), Direction::Here(HOLDER, secret.clone()));
        // It may come from a peer.
        let travelled = key.hop().unwrap().hop().unwrap();
        let sent = [&travelled.secret()[..], &rest].concat();
        assert_eq!(peers.direct(travelled.pid(), &sent), Direction::Here(HOLDER, secret.clone()));
        peers.forget(key);
        assert!(matches!(peers.direct(key.pid(), &secret), Direction::Nowhere(_)));
    }

    #[test]
    fn no_two_clients_have_one_key() {
        let peers = peers();
        let mut calls = 0_u8;
        let mut random = |bytes: &mut [u8]| {
            calls += 1;
            bytes.fill(calls / 3);
        };
        let first = peers.register(HOLDER, &mut random);
        let second = peers.register(HOLDER, &mut random);
        assert_ne!(first, second);
    }

    #[test]
    fn a_peer_is_sent_the_key_with_one_hop_less_until_none_is_left() {
        let peers = peers();
        // The documented layout: number 9, three hops.
        let (pid, secret) = (0x1209_00aa, [0xbb, 0xcc, 0xdd, 0xe3]);
        let Direction::Peer { place: 1, pid: 0x1209_00aa, secret: sent } =
            peers.direct(pid, &secret)
        else {
            panic!("it is for the second peer")
        };
        assert_eq!(sent, [0xbb, 0xcc, 0xdd, 0xe2]);
        for (pid, last) in [(pid, 0xe0), (0x1205_00aa, 0xe3), (0x1200_00aa, 0xe3)] {
            let direction = peers.direct(pid, &[0xbb, 0xcc, 0xdd, last]);
            assert!(matches!(direction, Direction::Nowhere(_)), "{direction:?}");
        }
        assert!(matches!(peers.direct(pid, &[1, 2, 3]), Direction::Nowhere(_)));
    }

    proptest! {
        /// Whatever is sent, it reaches a client only by its key, and a peer only with fewer hops.
        #[test]
        fn any_request_has_a_direction(pid: u32, secret in prop::collection::vec(any::<u8>(), 0..260)) {
            let peers = peers();
            let key = peers.register(HOLDER, |bytes| bytes.fill(0x55));
            match peers.direct(pid, &secret) {
                Direction::Here(holder, wanted) => {
                    prop_assert_eq!(holder, HOLDER);
                    prop_assert_eq!(pid, key.pid());
                    prop_assert_eq!(&wanted[..4], &key.secret()[..]);
                }
                Direction::Peer { place, pid: same, secret: sent } => {
                    prop_assert!(place < 2 && same == pid && sent.len() == secret.len());
                    prop_assert_eq!((sent[3] & 3) + 1, secret[3] & 3);
                }
                Direction::Nowhere(_) => {}
            }
        }
    }
}
