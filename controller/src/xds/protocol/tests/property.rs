//! A proxy that keeps to the protocol, as Envoy does, against a stream, in any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Happening {
    Publish(usize),
    /// The proxy wants these, and says so at once.
    Want([bool; 3]),
    /// The proxy reads a response, and takes it or not.
    Read {
        takes: bool,
    },
    /// The server reads a request.
    Hear,
    /// What the proxy never said.
    Noise {
        nonce: String,
        type_url: bool,
        version: String,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Happening::Publish),
        1 => any::<[bool; 3]>().prop_map(Happening::Want),
        4 => prop::bool::weighted(0.8).prop_map(|takes| Happening::Read { takes }),
        4 => Just(Happening::Hear),
        // Nonces are numbers from 1; a negative one is never right.
        1 => ("-[0-9]{1,2}", any::<bool>(), "[0-9]{0,2}")
            .prop_map(|(nonce, type_url, version)| Happening::Noise { nonce, type_url, version }),
    ]
}

/// What Envoy keeps of a type, and the two directions of its stream.
#[derive(Debug, Default)]
struct Proxy {
    wanted: BTreeSet<&'static str>,
    nonce: String,
    version: String,
    runs: BTreeMap<String, AckState>,
    requests: VecDeque<Request>,
    responses: VecDeque<Response>,
}

impl Proxy {
    fn say(&mut self, error: Option<String>) {
        let names: Vec<_> = self.wanted.iter().copied().collect();
        self.requests.push_back(Request { error, ..request(&names, &self.version, &self.nonce) });
    }

    fn want(&mut self, wanted: impl IntoIterator<Item = &'static str>) {
        self.wanted = wanted.into_iter().collect();
        self.runs.retain(|name, _| self.wanted.contains(name.as_str()));
        self.say(None);
    }

    fn read(&mut self, takes: bool) {
        let Some(Response { nonce, resource }) = self.responses.pop_front() else { return };
        self.nonce = nonce;
        if takes {
            self.version.clone_from(&resource.version);
        }
        if self.wanted.contains(resource.name.as_str()) {
            let runs = self.runs.entry(resource.name.clone()).or_default();
            *runs = match takes {
                true => standing(Some(&resource.version), None),
                false => standing(runs.acknowledged.as_deref(), Some((&resource.version, "no"))),
            };
        }
        self.say((!takes).then(|| "no".to_owned()));
    }
}

proptest! {
    #[test]
    fn in_the_end_both_sides_agree(happenings in prop::collection::vec(happening(), 0..200)) {
        let mut world = World::default();
        let mut subscription = Subscription::default();
        let mut proxy = Proxy::default();
        let mut last = BTreeMap::<String, u64>::new();
        proxy.want(["a"]);
        let drain = (0..40).flat_map(|_| [Happening::Hear, Happening::Read { takes: true }]);
        for happening in happenings.into_iter().chain(drain) {
            match happening {
                Happening::Publish(name) => {
                    let version = (world.revision + 1).to_string();
                    world.publish(NAMES[name], &version);
                }
                Happening::Want(wanted) => {
                    proxy.want(NAMES.into_iter().zip(wanted).filter(|it| it.1).map(|it| it.0));
                }
                Happening::Read { takes } => proxy.read(takes),
                Happening::Hear => {
                    if let Some(request) = proxy.requests.pop_front() {
                        subscription.on_request(&request).unwrap();
                    }
                }
                Happening::Noise { nonce, type_url, version } => {
                    let names: Vec<_> = subscription.wanted.keys().map(String::as_str).collect();
                    let noise = request(&names, &version, &nonce);
                    let type_url = if type_url { TYPE_URL } else { "other" };
                    // The first request of all is believed whatever its nonce.
                    if subscription.started || type_url != TYPE_URL {
                        let before = format!("{subscription:?}");
                        let heard = subscription.on_request(&Request { type_url: type_url.into(), ..noise });
                        prop_assert_eq!(heard, Ok(NOTHING));
                        prop_assert_eq!(before, format!("{subscription:?}"));
                    }
                }
            }
            while let Some(response) = subscription.next(&world.resources) {
                prop_assert!(proxy.responses.is_empty(), "more than one is under way");
                let revision = response.resource.version.parse().unwrap();
                prop_assert_eq!(revision, world.resources[&response.resource.name].revision);
                let before = last.insert(response.resource.name.clone(), revision);
                prop_assert!(before <= Some(revision), "no version is taken back");
                proxy.responses.push_back(response);
            }
        }
        prop_assert!(proxy.requests.is_empty() && proxy.responses.is_empty());
        prop_assert_eq!(subscription.wanted.keys().map(String::as_str).collect::<BTreeSet<_>>(), proxy.wanted);
        for (name, standing) in subscription.ack_states() {
            prop_assert_eq!(&standing, &proxy.runs.get(&name).cloned().unwrap_or_default());
            let current = world.resources.get(&name).map(|it| it.resource.version.clone());
            let said = standing.rejected.map(|it| it.version).or(standing.acknowledged);
            prop_assert_eq!(said, current, "the last word is about the present version");
        }
    }
}
