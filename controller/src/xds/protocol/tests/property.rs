//! A proxy that follows the protocol, as Envoy does, against a stream, in any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    /// The proxy subscribes to these, and sends a request.
    Subscribe([bool; 3]),
    /// The proxy reads a response, and accepts or rejects it.
    Read {
        takes: bool,
    },
    /// The server reads a request.
    Serve,
    /// A request that a correct proxy never sends.
    Noise {
        nonce: String,
        type_url: bool,
        version: String,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Step::Publish),
        1 => any::<[bool; 3]>().prop_map(Step::Subscribe),
        4 => prop::bool::weighted(0.8).prop_map(|takes| Step::Read { takes }),
        4 => Just(Step::Serve),
        // Nonces are numbers from 1; a negative one is always wrong.
        1 => ("-[0-9]{1,2}", any::<bool>(), "[0-9]{0,2}")
            .prop_map(|(nonce, type_url, version)| Step::Noise { nonce, type_url, version }),
    ]
}

/// Envoy's state of a type, and the two directions of its stream.
#[derive(Debug, Default)]
struct Proxy {
    subscriptions: BTreeSet<&'static str>,
    nonce: String,
    version: String,
    runs: BTreeMap<String, AckState>,
    requests: VecDeque<Request>,
    responses: VecDeque<Response>,
}

impl Proxy {
    fn request(&mut self, error: Option<String>) {
        let names: Vec<_> = self.subscriptions.iter().copied().collect();
        self.requests.push_back(Request { error, ..request(&names, &self.version, &self.nonce) });
    }

    fn subscribe(&mut self, subscriptions: impl IntoIterator<Item = &'static str>) {
        self.subscriptions = subscriptions.into_iter().collect();
        self.runs.retain(|name, _| self.subscriptions.contains(name.as_str()));
        self.request(None);
    }

    fn read(&mut self, takes: bool) {
        let Some(Response { nonce, resource }) = self.responses.pop_front() else { return };
        self.nonce = nonce;
        if takes {
            self.version.clone_from(&resource.version);
        }
        if self.subscriptions.contains(resource.name.as_str()) {
            let runs = self.runs.entry(resource.name.clone()).or_default();
            *runs = match takes {
                true => ack_state(Some(&resource.version), None),
                false => ack_state(runs.acknowledged.as_deref(), Some((&resource.version, "no"))),
            };
        }
        self.request((!takes).then(|| "no".to_owned()));
    }
}

proptest! {
    #[test]
    fn both_sides_agree_in_the_end(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::default();
        let mut subscription = Subscription::default();
        let mut proxy = Proxy::default();
        let mut last = BTreeMap::<String, u64>::new();
        proxy.subscribe(["a"]);
        let drain = (0..40).flat_map(|_| [Step::Serve, Step::Read { takes: true }]);
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Publish(name) => {
                    let version = (world.revision + 1).to_string();
                    world.publish(NAMES[name], &version);
                }
                Step::Subscribe(subscriptions) => {
                    proxy.subscribe(NAMES.into_iter().zip(subscriptions).filter(|it| it.1).map(|it| it.0));
                }
                Step::Read { takes } => proxy.read(takes),
                Step::Serve => {
                    if let Some(request) = proxy.requests.pop_front() {
                        subscription.on_request(&request).unwrap();
                    }
                }
                Step::Noise { nonce, type_url, version } => {
                    let names: Vec<_> = subscription.subscriptions.keys().map(String::as_str).collect();
                    let noise = request(&names, &version, &nonce);
                    let type_url = if type_url { TYPE_URL } else { "other" };
                    // The nonce of the very first request does not matter.
                    if subscription.started || type_url != TYPE_URL {
                        let before = format!("{subscription:?}");
                        let effect = subscription.on_request(&Request { type_url: type_url.into(), ..noise });
                        prop_assert_eq!(effect, Ok(NOTHING));
                        prop_assert_eq!(before, format!("{subscription:?}"));
                    }
                }
            }
            while let Some(response) = subscription.next(&world.resources) {
                prop_assert!(proxy.responses.is_empty(), "more than one is under way");
                let revision = response.resource.version.parse().unwrap();
                prop_assert_eq!(revision, world.resources[&response.resource.name].revision);
                let before = last.insert(response.resource.name.clone(), revision);
                prop_assert!(before <= Some(revision), "no version is reverted");
                proxy.responses.push_back(response);
            }
        }
        prop_assert!(proxy.requests.is_empty() && proxy.responses.is_empty());
        prop_assert_eq!(subscription.subscriptions.keys().map(String::as_str).collect::<BTreeSet<_>>(), proxy.subscriptions);
        for (name, state) in subscription.ack_states() {
            prop_assert_eq!(&state, &proxy.runs.get(&name).cloned().unwrap_or_default());
            let current = world.resources.get(&name).map(|it| it.resource.version.clone());
            let reported = state.rejected.map(|it| it.version).or(state.acknowledged);
            prop_assert_eq!(reported, current, "the state is about the present version");
        }
    }
}
