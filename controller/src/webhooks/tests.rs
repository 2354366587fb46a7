use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serin_core::rollout::call::HookPoint;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

fn message() -> HookMessage {
    HookMessage {
        id: "shop-v2/7/step-1/replace/1".to_owned(),
        point: HookPoint::Replace,
        rollout: "shop-v2".to_owned(),
        service: "shop".parse().unwrap(),
        baseline: "v1".parse().unwrap(),
        candidate: "v2".parse().unwrap(),
        step: Some(1),
        weight: Weight::ZERO,
        generation: Generation(8),
        instances: vec!["a".to_owned(), "b".to_owned()],
        version: Some("v2".parse().unwrap()),
        reason: None,
    }
}

fn to(target: HookTarget, retries: u32) -> HookCall {
    let hook = Hook { target, timeout: Duration::from_secs(20), retries, secret_file: None };
    HookCall { hook, message: message() }
}

/// A request that a receiver got.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

/// A receiver that answers with these, the last one repeatedly; returns its address.
async fn receiver(answers: &'static [u16]) -> (Received, String) {
    let received = Received::default();
    let answer =
        async |State(Received(received)): State<Received>, headers: HeaderMap, body: Bytes| {
            let mut received = received.lock().unwrap();
            let answer = answers[received.len().min(answers.len() - 1)];
            received.push((headers, body));
            let status = StatusCode::from_u16(answer).unwrap();
            (status, [("location", "/elsewhere")], "what it says\n").into_response()
        };
    let routes = Router::new().fallback(post(answer)).with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (received, url)
}

fn script(text: &str) -> (TempDir, HookTarget) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hook.sh");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (directory, HookTarget::Command(vec!["sh".to_owned(), path, "an argument".to_owned()]))
}

#[tokio::test]
async fn a_webhook_is_signed_by_the_standard() {
    let (Received(received), url) = receiver(&[204]).await;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let mut signed = to(HookTarget::Url(url), 0);
    signed.hook.secret_file = Some(secret.clone());
    assert_eq!(call(&signed).await, Ok(()));
    let (headers, body) = received.lock().unwrap()[0].clone();
    let key = Webhook::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    key.verify(&body, &headers).unwrap();
    assert_eq!(headers["webhook-id"], "shop-v2/7/step-1/replace/1");
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "id": "shop-v2/7/step-1/replace/1", "point": "replace", "rollout": "shop-v2", "service": "shop", "baseline": "v1",
        "candidate": "v2", "step": 1, "weight": 0, "generation": 8, "instances": ["a", "b"], "version": "v2"
    });
    assert_eq!(told, expected);

    std::fs::write(&secret, "not base64!").unwrap();
    let error = call(&signed).await.unwrap_err();
    assert!(error.contains("secret: not a key"), "{error}");
    std::fs::remove_file(&secret).unwrap();
    let error = call(&signed).await.unwrap_err();
    assert!(error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_call_is_retried_unless_the_error_is_final() {
    let (Received(received), url) = receiver(&[500, 429, 200]).await;
    assert_eq!(call(&to(HookTarget::Url(url), 3)).await, Ok(()));
    assert_eq!(received.lock().unwrap().len(), 3);
    let told: Vec<_> = received.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    assert!(told.iter().all(|body| *body == told[0]));

    // A 4xx is final, and a signed message is not redirected to another address.
    for status in [403, 302] {
        let answers: &'static [u16] = Box::leak(Box::new([status]));
        let (Received(received), url) = receiver(answers).await;
        let error = call(&to(HookTarget::Url(url), 3)).await.unwrap_err();
        assert_eq!(error, format!("it answered {status}: what it says"));
        assert_eq!(received.lock().unwrap().len(), 1);
    }
    let (Received(received), url) = receiver(&[503]).await;
    call(&to(HookTarget::Url(url), 1)).await.unwrap_err();
    assert_eq!(received.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_silent_receiver_is_named_with_the_cause() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    let mut hanging = to(HookTarget::Url(url.clone()), 0);
    hanging.hook.timeout = Duration::from_millis(200);
    assert_eq!(call(&hanging).await.unwrap_err(), "no answer within 200ms");
    drop(nobody);
    let error = call(&to(HookTarget::Url(url), 0)).await.unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_command_gets_its_input_and_environment() {
    let (directory, target) = script(
        "cat > \"$(dirname $0)/told\"; echo \"$1|$SERIN_POINT|$SERIN_INSTANCES|$SERIN_VERSION|$SERIN_ID\" > $(dirname $0)/env",
    );
    assert_eq!(call(&to(target, 0)).await, Ok(()));
    let told = std::fs::read_to_string(directory.path().join("told")).unwrap();
    assert_eq!(serde_json::from_str::<HookMessage>(&told).unwrap(), message());
    let environment = std::fs::read_to_string(directory.path().join("env")).unwrap();
    assert_eq!(environment, "an argument|replace|a b|v2|shop-v2/7/step-1/replace/1\n");
}

#[tokio::test]
async fn a_command_that_fails_is_quoted() {
    let (_directory, target) = script("echo first >&2; echo 'no such host' >&2; exit 7");
    assert_eq!(
        call(&to(target, 0)).await.unwrap_err(),
        "it ended with exit status: 7: no such host"
    );
    let missing = HookTarget::Command(vec!["/no/such/program".to_owned()]);
    let error = call(&to(missing, 0)).await.unwrap_err();
    assert!(error.starts_with("it can't be run: No such file"), "{error}");
    let (_directory, target) = script("exec sleep 60");
    let mut hanging = to(target, 0);
    hanging.hook.timeout = Duration::from_millis(200);
    assert_eq!(call(&hanging).await.unwrap_err(), "no answer within 200ms");
}

#[tokio::test]
async fn children_of_a_command_are_killed_only_at_its_timeout() {
    let (directory, target) = script("sleep 60 & echo $! > $(dirname $0)/pid; sleep 60");
    let mut hanging = to(target, 0);
    hanging.hook.timeout = Duration::from_secs(1);
    assert_eq!(call(&hanging).await.unwrap_err(), "no answer within 1s");
    let started = |directory: &TempDir| {
        let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        state.is_ok_and(|state| !state.contains(" Z "))
    };
    for _ in 0..100 {
        if started(&directory) {
            sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(!started(&directory), "it was started by a command that is over");
    // The background process keeps standard error open.
    let (directory, target) = script("sleep 5 & echo $! > $(dirname $0)/pid");
    assert_eq!(call(&to(target, 0)).await, Ok(()));
    assert!(started(&directory));
}
