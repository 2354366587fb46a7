use super::*;

mod property;

/// The resources of a group.
#[derive(Debug, Default)]
struct World {
    resources: Resources,
    revision: u64,
}

impl World {
    fn publish(&mut self, name: &str, version: &str) {
        self.revision += 1;
        let (name, version) = (name.to_owned(), version.to_owned());
        let resource = Arc::new(Resource { name: name.clone(), version, body: Any::default() });
        self.resources.insert(name, Published { revision: self.revision, resource });
    }
}

/// The nonce, name and version of the next response.
fn next(subscription: &mut Subscription, world: &World) -> Option<(String, String, String)> {
    let Response { nonce, resource } = subscription.next(&world.resources)?;
    Some((nonce, resource.name.clone(), resource.version.clone()))
}

fn sent(nonce: &str, name: &str, version: &str) -> Option<(String, String, String)> {
    Some((nonce.to_owned(), name.to_owned(), version.to_owned()))
}

fn request(names: &[&str], version: &str, nonce: &str) -> Request {
    Request {
        type_url: TYPE_URL.to_owned(),
        version: version.to_owned(),
        nonce: nonce.to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        error: None,
    }
}

fn rejecting(names: &[&str], version: &str, nonce: &str, reason: &str) -> Request {
    Request { error: Some(reason.to_owned()), ..request(names, version, nonce) }
}

fn ack_state(acknowledged: Option<&str>, rejected: Option<(&str, &str)>) -> AckState {
    let rejection = |(version, reason): (&str, &str)| Rejection {
        version: version.to_owned(),
        reason: reason.to_owned(),
    };
    AckState { acknowledged: acknowledged.map(str::to_owned), rejected: rejected.map(rejection) }
}

const ANSWER: RequestEffect = RequestEffect { changed: true, is_answer: true };
const NEWS: RequestEffect = RequestEffect { changed: true, is_answer: false };
const NOTHING: RequestEffect = RequestEffect { changed: false, is_answer: false };

/// A stream that subscribes to "serin" and was sent version 1.
fn begun() -> (World, Subscription) {
    let (mut world, mut subscription) = (World::default(), Subscription::default());
    world.publish("serin", "1");
    assert_eq!(subscription.on_request(&request(&["serin"], "", "")), Ok(NEWS));
    assert_eq!(next(&mut subscription, &world), sent("1", "serin", "1"));
    (world, subscription)
}

#[test]
fn a_published_resource_is_sent_once_and_acknowledged() {
    let (mut world, mut subscription) = begun();
    assert_eq!(next(&mut subscription, &world), None);
    assert_eq!(subscription.ack_states()["serin"], ack_state(None, None));
    assert_eq!(subscription.on_request(&request(&["serin"], "1", "1")), Ok(ANSWER));
    assert_eq!(subscription.ack_states()["serin"], ack_state(Some("1"), None));
    assert_eq!(next(&mut subscription, &world), None);
    world.publish("serin", "2");
    assert_eq!(next(&mut subscription, &world), sent("2", "serin", "2"));
}

#[test]
fn a_slow_proxy_gets_only_the_newest_version() {
    let (mut world, mut subscription) = begun();
    for version in ["2", "3", "4"] {
        world.publish("serin", version);
        assert_eq!(next(&mut subscription, &world), None);
    }
    subscription.on_request(&request(&["serin"], "1", "1")).unwrap();
    assert_eq!(next(&mut subscription, &world), sent("2", "serin", "4"));
}

#[test]
fn a_rejection_keeps_its_reason_until_an_acceptance() {
    let (mut world, mut subscription) = begun();
    subscription.on_request(&request(&["serin"], "1", "1")).unwrap();
    world.publish("serin", "2");
    next(&mut subscription, &world);
    assert_eq!(subscription.on_request(&rejecting(&["serin"], "1", "2", "no module")), Ok(ANSWER));
    let rejected = ack_state(Some("1"), Some(("2", "no module")));
    assert_eq!(subscription.ack_states()["serin"], rejected);
    // The server does not send it again. The next request with the same nonce, without the reason,
    // does not clear the rejection.
    assert_eq!(next(&mut subscription, &world), None);
    assert_eq!(subscription.on_request(&request(&["serin"], "1", "2")), Ok(NOTHING));
    assert_eq!(subscription.ack_states()["serin"], rejected);
    world.publish("serin", "3");
    assert_eq!(next(&mut subscription, &world), sent("3", "serin", "3"));
    subscription.on_request(&request(&["serin"], "3", "3")).unwrap();
    assert_eq!(subscription.ack_states()["serin"], ack_state(Some("3"), None));
}

#[test]
fn another_version_does_not_acknowledge() {
    let (_, mut subscription) = begun();
    subscription.on_request(&request(&["serin"], "0", "1")).unwrap();
    let reason = "no reason given; it has version \"0\"";
    assert_eq!(subscription.ack_states()["serin"], ack_state(None, Some(("1", reason))));
}

#[test]
fn a_long_reason_is_cut() {
    let (_, mut subscription) = begun();
    subscription.on_request(&rejecting(&["serin"], "", "1", &"\u{20ac}".repeat(1_000))).unwrap();
    let rejected = subscription.ack_states()["serin"].rejected.clone().unwrap();
    assert_eq!(rejected.reason, "\u{20ac}".repeat(341));
}

#[test]
fn an_answer_to_an_older_response_is_ignored() {
    let (mut world, mut subscription) = begun();
    subscription.on_request(&request(&["serin"], "1", "1")).unwrap();
    world.publish("serin", "2");
    next(&mut subscription, &world);
    for stale in ["1", "", "3", "nonsense"] {
        assert_eq!(subscription.on_request(&request(&["serin"], "2", stale)), Ok(NOTHING));
        assert_eq!(subscription.on_request(&rejecting(&["serin"], "2", stale, "why")), Ok(NOTHING));
    }
    assert_eq!(subscription.ack_states()["serin"], ack_state(Some("1"), None));
    assert_eq!(subscription.on_request(&request(&["serin"], "2", "2")), Ok(ANSWER));
    assert_eq!(subscription.ack_states()["serin"], ack_state(Some("2"), None));
}

#[test]
fn a_name_that_does_not_exist_yet_is_sent_when_it_does() {
    let (mut world, mut subscription) = (World::default(), Subscription::default());
    subscription.on_request(&request(&["serin"], "", "")).unwrap();
    world.publish("other", "1");
    assert_eq!(next(&mut subscription, &world), None);
    // Before the first response, another request can change the names.
    assert_eq!(subscription.on_request(&request(&["serin", "late"], "", "")), Ok(NEWS));
    world.publish("late", "7");
    assert_eq!(next(&mut subscription, &world), sent("1", "late", "7"));
}

#[test]
fn an_answer_or_a_later_request_can_change_the_names() {
    let (mut world, mut subscription) = begun();
    world.publish("other", "5");
    assert_eq!(subscription.on_request(&request(&["serin", "other"], "1", "1")), Ok(NEWS));
    assert_eq!(subscription.ack_states()["serin"], ack_state(Some("1"), None));
    assert_eq!(next(&mut subscription, &world), sent("2", "other", "5"));
    subscription.on_request(&request(&["serin", "other"], "5", "2")).unwrap();
    assert_eq!(subscription.on_request(&request(&["other"], "5", "2")), Ok(NEWS));
    assert_eq!(subscription.ack_states().into_keys().collect::<Vec<_>>(), ["other"]);
    // A proxy that subscribes to a resource again has dropped it meanwhile.
    subscription.on_request(&request(&["other", "serin"], "5", "2")).unwrap();
    assert_eq!(next(&mut subscription, &world), sent("3", "serin", "1"));
}

#[test]
fn a_renewed_subscription_gets_the_resource_again() {
    let (mut world, mut subscription) = begun();
    subscription.on_request(&request(&["serin"], "1", "1")).unwrap();
    world.publish("serin", "2");
    next(&mut subscription, &world);
    // The second response is on its way: all of this answers the first.
    assert_eq!(subscription.on_request(&request(&[], "1", "1")), Ok(NEWS));
    assert_eq!(subscription.on_request(&request(&["serin"], "1", "1")), Ok(NEWS));
    assert_eq!(next(&mut subscription, &world), None, "the second is not answered yet");
    subscription.on_request(&request(&["serin"], "2", "2")).unwrap();
    assert_eq!(next(&mut subscription, &world), sent("3", "serin", "2"));
}

#[test]
fn a_dropped_subscription_is_not_recorded() {
    let (world, mut subscription) = begun();
    subscription.on_request(&request(&[], "1", "1")).unwrap();
    assert_eq!(subscription.ack_states(), AckStates::new());
    assert_eq!(next(&mut subscription, &world), None);
}

#[test]
fn one_resource_does_not_delay_another() {
    let (mut world, mut subscription) = (World::default(), Subscription::default());
    for name in ["a", "b"] {
        world.publish(name, "1");
    }
    subscription.on_request(&request(&["a", "b"], "", "")).unwrap();
    let mut command = Vec::new();
    for nonce in 1..=4 {
        let (_, name, version) = next(&mut subscription, &world).unwrap();
        command.push(name);
        world.publish("a", &format!("{}", nonce + 1));
        subscription.on_request(&request(&["a", "b"], &version, &nonce.to_string())).unwrap();
        if nonce == 2 {
            world.publish("b", "2");
        }
    }
    assert_eq!(command, ["a", "b", "a", "b"]);
}

#[test]
fn a_reconnecting_proxy_reports_its_version_and_gets_the_present_one() {
    let (mut world, mut again) = (World::default(), Subscription::default());
    world.publish("serin", "2");
    // Some proxies send the nonce of an earlier stream.
    again.on_request(&request(&["serin"], "1", "17")).unwrap();
    assert_eq!(again.ack_states()["serin"], ack_state(Some("1"), None));
    assert_eq!(next(&mut again, &world), sent("1", "serin", "2"));

    // With several resources the version is ambiguous.
    let mut several = Subscription::default();
    several.on_request(&request(&["other", "serin"], "1", "")).unwrap();
    assert_eq!(several.ack_states()["serin"], ack_state(None, None));
}

#[test]
fn other_types_are_not_answered() {
    let (mut world, mut subscription) = begun();
    let other =
        Request { type_url: "type.googleapis.com/x.Y".into(), ..request(&["serin"], "1", "1") };
    assert_eq!(subscription.on_request(&other), Ok(NOTHING));
    world.publish("serin", "2");
    assert_eq!(next(&mut subscription, &world), None, "the first is not answered yet");
    assert_eq!(subscription.on_request(&request(&["serin"], "1", "1")), Ok(ANSWER));
    assert_eq!(next(&mut subscription, &world), sent("2", "serin", "2"));
}

#[test]
fn names_are_bounded() {
    let (_, mut subscription) = begun();
    let long = "n".repeat(MAX_NAME + 1);
    assert_eq!(subscription.on_request(&request(&[&long], "1", "1")), Err(LimitExceeded));
    let many: Vec<_> = (0..=MAX_NAMES).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(subscription.on_request(&request(&many, "1", "1")), Err(LimitExceeded));
    assert_eq!(subscription.on_request(&request(&many[1..], "1", "1")), Ok(NEWS));
}
