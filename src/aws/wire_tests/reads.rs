//! Shared reads: single-flight and pagination.

use super::*;

#[tokio::test]
async fn thousand_callers_share_one_session_and_its_reads() {
    let server = Server::start(|request, before| match (request.action(), before) {
        ("GetCallerIdentity", _) => caller_identity(ACCOUNT),
        ("DescribeVpcs", 0) => vpcs(&["vpc-1", "vpc-2"], Some("more")),
        _ => vpcs(&["vpc-3"], None),
    })
    .await;
    let accounts = accounts(&server.url);
    let max_staleness = MaxStaleness::now();
    let reads = (0..1000).map(|_| async {
        let session = accounts.session(&Identity::ambient(), REGION).await?;
        assert_eq!(&*session.partition, "aws-cn");
        session.snapshots.vpcs(max_staleness).await
    });
    let all = futures::future::try_join_all(reads).await.expect("no failure");
    assert!(all.iter().all(|vpcs| vpcs.len() == 3), "all pages are read");
    assert_eq!((server.count("GetCallerIdentity"), server.count("DescribeVpcs")), (1, 2));
    let request = server.last("DescribeVpcs");
    assert_eq!(request.form.get("Filter.1.Name").map(String::as_str), Some("tag-key"));
    assert_eq!(request.form.get("NextToken").map(String::as_str), Some("more"));
}

#[tokio::test]
async fn repeated_page_token_is_a_failure() {
    let server = Server::start(|request, _| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        _ => vpcs(&["vpc-1"], Some("same")),
    })
    .await;
    let error = session(&server).await.snapshots.vpcs(MaxStaleness::any()).await.expect_err("it fails");
    assert_eq!(error.class(), Class::Unavailable);
    assert_eq!(server.count("DescribeVpcs"), 2);
}

#[tokio::test]
async fn subnet_reads_are_batched_for_all_clusters() {
    let server = Server::start(|request, _| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        _ => {
            let requested = request.form.iter().filter(|(key, _)| key.starts_with("Filter.1.Value."));
            let items: String = requested.map(|(_, id)| format!("<item><subnetId>{id}</subnetId></item>")).collect();
            ok(format!("<DescribeSubnetsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><subnetSet>{items}</subnetSet></DescribeSubnetsResponse>"))
        }
    })
    .await;
    let snapshots = session(&server).await.snapshots;
    let ids: Vec<Vec<String>> = (0..50).map(|i| vec![format!("subnet-{i}"), "subnet-shared".to_owned()]).collect();
    let max_staleness = MaxStaleness::now();
    let all = futures::future::join_all(ids.iter().map(|ids| snapshots.subnets_by_id(ids, max_staleness))).await;
    for (ids, found) in ids.iter().zip(all) {
        let found = found.expect("a read");
        assert!(ids.iter().all(|id| found.iter().any(|subnet| subnet.id == *id)));
    }
    let reads = server.count("DescribeSubnets");
    assert!(reads <= 3, "{reads} reads for 50 clusters");
}
