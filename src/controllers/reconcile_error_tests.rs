//! Tests of the errors of a reconcile: their causes, effects and log lines.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::aws::Service;
use crate::aws::errors::Call;
use crate::engine::execution_policy::Facts;
use crate::engine::{Goal, Item, Outcome, Plan, StepResult, Verdict};
use crate::telemetry::logs::{Captured, Format};

const REQUEST_ID: &str = "8f2c6d0e-request";

fn aws(class: Class) -> Failure {
    let (account, region) = ("111122223333", "eu-west-1");
    let call = Call { service: Service::Eks, action: "DescribeCluster", resource: "demo", account, region };
    let mut failure = call.failed(class, "not now");
    failure.code = Some("ServerException".to_owned());
    failure.request_id = Some(REQUEST_ID.to_owned());
    failure.http_status = Some(500);
    AwsError::from(failure).into()
}

fn api() -> kube::Error {
    let status = kube::core::Status { code: 503, message: "the API server is busy".into(), ..Default::default() };
    kube::Error::Api(Box::new(status))
}

fn refusal() -> Refusal {
    Refusal::new(Reason::InvalidSpec, "spec.version: not one")
}

fn violation() -> Violation {
    Violation { key: Key::single("vpc"), action: "delete", why: "it is not owned" }
}

/// An error of each variant.
fn all() -> Vec<ReconcileError> {
    let (key, recheck) = (Key::single("vpc"), SignedDuration::from_secs(15));
    vec![
        DereferenceError::Account(refusal()).into(),
        DereferenceError::Dependent(refusal()).into(),
        DereferenceError::Cluster { name: "demo".into(), source: api() }.into(),
        ValidateError::Refused(refusal()).into(),
        ValidateError::NameTaken { refusal: refusal(), recheck }.into(),
        ValidateError::Session(aws(Class::Unavailable)).into(),
        ValidateError::Aws(aws(Class::Unavailable)).into(),
        BuildError::Spec(SpecError::new("spec.version", "not one")).into(),
        BuildError::Survey(aws(Class::Unavailable)).into(),
        BuildError::TagKeys(api()).into(),
        BuildError::Finalizer(api()).into(),
        ObserveError::Resource { key: key.clone(), source: aws(Class::Unavailable) }.into(),
        ObserveError::Aws(aws(Class::Unavailable)).into(),
        PlanError::Unsafe(violation()).into(),
        ExecuteError::Step { key, action: Action::Create, source: aws(Class::Unavailable) }.into(),
        StatusError::NotWritten(api()).into(),
        StatusError::Finalizer(api()).into(),
    ]
}

/// The name of the variant, and whether its source has the type of what caused it. A new variant does not compile
/// until it is here.
fn source_of(error: &ReconcileError) -> (&'static str, bool) {
    let step = error.source().expect("the error of the step");
    let source = step.source().expect("its cause");
    match error {
        ReconcileError::Dereference(DereferenceError::Account(_)) => ("account", source.is::<Refusal>()),
        ReconcileError::Dereference(DereferenceError::Dependent(_)) => ("dependent", source.is::<Refusal>()),
        ReconcileError::Dereference(DereferenceError::Cluster { .. }) => ("cluster", source.is::<kube::Error>()),
        ReconcileError::Validate(ValidateError::Refused(_)) => ("refused", source.is::<Refusal>()),
        ReconcileError::Validate(ValidateError::NameTaken { .. }) => ("name", source.is::<Refusal>()),
        ReconcileError::Validate(ValidateError::Session(_)) => ("session", is_of_aws(source)),
        ReconcileError::Validate(ValidateError::Aws(_)) => ("in aws", is_of_aws(source)),
        ReconcileError::Build(BuildError::Spec(_)) => ("spec", source.is::<SpecError>()),
        ReconcileError::Build(BuildError::Survey(_)) => ("survey", is_of_aws(source)),
        ReconcileError::Build(BuildError::TagKeys(_)) => ("tag keys", source.is::<kube::Error>()),
        ReconcileError::Build(BuildError::Finalizer(_)) => ("finalizer", source.is::<kube::Error>()),
        ReconcileError::Observe(ObserveError::Resource { .. }) => ("observation", is_of_aws(source)),
        ReconcileError::Observe(ObserveError::Aws(_)) => ("reads", is_of_aws(source)),
        ReconcileError::Plan(PlanError::Unsafe(_)) => ("plan", source.is::<Violation>()),
        ReconcileError::Execute(ExecuteError::Step { .. }) => ("step", is_of_aws(source)),
        ReconcileError::Status(StatusError::NotWritten(_)) => ("status", source.is::<kube::Error>()),
        ReconcileError::Status(StatusError::Finalizer(_)) => ("removal", source.is::<kube::Error>()),
    }
}

/// A failure, and what AWS answered behind it.
fn is_of_aws(source: &(dyn Error + 'static)) -> bool {
    let answer = source.source().and_then(|cause| cause.downcast_ref::<AwsError>());
    source.is::<Failure>() && answer.is_some_and(|aws| aws.request_id.as_deref() == Some(REQUEST_ID))
}

fn logged(error: &ReconcileError, level: &str) -> Vec<serde_json::Value> {
    let (log, guard) = Captured::start(level, Format::Json);
    error.log();
    drop(guard);
    log.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_error_keeps_its_source() {
    let found: Vec<_> = all().iter().map(source_of).collect();
    for (name, is_kept) in &found {
        assert!(is_kept, "{name}");
    }
    let names: BTreeSet<_> = found.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), found.len(), "each variant once");
}

#[test]
fn log_line_has_the_request_id_that_status_has_not() {
    let error = ReconcileError::from(ValidateError::Session(aws(Class::Unavailable)));
    let lines = logged(&error, "info");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    let expected = [
        ("level", "WARN"),
        ("message", "the reconcile failed"),
        ("step", "validate"),
        ("class", "unavailable"),
        ("action", "DescribeCluster"),
        ("resource", "demo"),
        ("code", "ServerException"),
        ("request_id", REQUEST_ID),
    ];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert_eq!(line["http_status"], 500);
    let text = line["error"].as_str().unwrap();
    assert_eq!(text.matches("not now").count(), 1, "each cause once: {text}");
    assert!(
        text.starts_with("step validate failed: there is no session in its account: eks:DescribeCluster"),
        "{text}"
    );
    assert!(!text.contains(REQUEST_ID), "{text}");
    let Effect::Failed(failure) = error.effect() else { panic!("{error:?}") };
    assert!(failure.message.contains("not now") && !failure.message.contains(REQUEST_ID), "{failure}");
}

#[test]
fn result_and_log_level_follow_from_the_cause() {
    let cases: [(ReconcileError, &str, &str); 7] = [
        (ValidateError::Refused(refusal()).into(), "refused", "DEBUG"),
        (BuildError::Spec(SpecError::new("spec", "no")).into(), "refused", "DEBUG"),
        (BuildError::Survey(aws(Class::Throttled)).into(), "throttled", "DEBUG"),
        (BuildError::Survey(aws(Class::Denied)).into(), "denied", "WARN"),
        (BuildError::TagKeys(api()).into(), "management_api", "WARN"),
        (StatusError::NotWritten(api()).into(), "management_api", "WARN"),
        (PlanError::Unsafe(violation()).into(), "unsafe_plan", "ERROR"),
    ];
    for (error, result, level) in cases {
        assert_eq!(error.result(), result, "{error:?}");
        let lines = logged(&error, "keelson=debug");
        assert_eq!((lines.len(), &lines[0]["level"]), (1, &level.into()), "{error:?}");
        assert_eq!((&lines[0]["step"], &lines[0]["class"]), (&error.step().into(), &result.into()));
    }
}

#[test]
fn spec_error_refuses_and_api_error_waits() {
    let error = ReconcileError::from(BuildError::Spec(SpecError::new("spec.version", "not one")));
    let refused = |recheck| Effect::Refused { refusal: refusal(), recheck };
    assert_eq!(error.effect(), refused(None));
    let recheck = SignedDuration::from_secs(15);
    let error = ReconcileError::from(ValidateError::NameTaken { refusal: refusal(), recheck });
    assert_eq!(error.effect(), refused(Some(recheck)));
    let error = ReconcileError::from(StatusError::Finalizer(api()));
    let message = "the finalizer was not removed: the API server is busy".to_owned();
    let retry = SignedDuration::from_secs(2);
    assert_eq!(error.effect(), Effect::ManagementApi { reason: Reason::Deleting, message, retry });
}

#[test]
fn value_that_the_parser_quotes_is_not_logged() {
    let broken = serde_json::from_str::<u8>("\"SECRET\"").unwrap_err();
    assert!(broken.to_string().contains("SECRET"), "the parser quotes: {broken}");
    let lines = logged(&BuildError::TagKeys(kube::Error::SerdeError(broken)).into(), "trace");
    let text = lines[0]["error"].as_str().unwrap();
    assert!(text.contains("line 1") && !text.contains("SECRET"), "{text}");
}

#[test]
fn answer_of_aws_is_logged_without_the_signed_request() {
    let (account, region) = ("111122223333", "eu-west-1");
    let call = Call { service: Service::Eks, action: "DescribeCluster", resource: "demo", account, region };
    let mut failure = call.failed(Class::Denied, "the signature does not match");
    failure.source = Some(std::sync::Arc::new(std::io::Error::other("The Canonical String is SECRET")));
    let lines = logged(&ObserveError::Aws(AwsError::from(failure).into()).into(), "trace");
    let text = lines[0]["error"].as_str().unwrap();
    assert!(text.contains("the signature does not match") && !text.contains("SECRET"), "{text}");
}

fn report(items: Vec<Item>, steps: Vec<StepResult>, violations: Vec<Violation>) -> Report {
    Report {
        plan: Plan { goal: Goal::Present, items },
        next: None,
        steps,
        finished_operations: Vec::new(),
        skipped: Vec::new(),
        violations,
        expected: BTreeMap::new(),
        facts: Facts::default(),
    }
}

#[test]
fn error_of_a_report_is_its_plans_then_a_steps_then_a_new_observations() {
    let key = Key::single("vpc");
    let failed = RetryState::after(None, aws(Class::Denied), Timestamp::UNIX_EPOCH, 0);
    let verdict = Verdict::NotObserved(Some(failed));
    let items = || vec![Item { key: key.clone(), verdict: verdict.clone(), forbidden: Vec::new(), drift: Vec::new() }];
    let outcome = Outcome::Failed(aws(Class::Quota));
    let step =
        || StepResult { key: key.clone(), action: Action::Create, changes: Vec::new(), outcome: outcome.clone() };
    let step_of = |report: &Report| ReconcileError::of(report).map(|error| (error.step(), error.result()));
    assert_eq!(step_of(&report(items(), vec![step()], vec![violation()])), Some(("plan", "unsafe_plan")));
    assert_eq!(step_of(&report(items(), vec![step()], Vec::new())), Some(("execute", "quota")));
    let unobserved = report(items(), Vec::new(), Vec::new());
    assert_eq!(step_of(&unobserved), Some(("observe", "denied")));
    assert_eq!(step_of(&report(Vec::new(), Vec::new(), Vec::new())), None);
    assert!(ReconcileError::of_new(&unobserved, |_, _| false).is_none(), "it is not logged again");
}
