use super::*;

fn scenario(balancer: &str) -> Scenario {
    let text = format!(
        r#"
what: a test
duration: 1s
traffic: [{{ requests: {{ name: all, list: [{{}}] }} }}]
clusters:
  - name: shop
    balancer: {balancer}
    endpoints: [{{ address: "10.0.0.1:80", count: 3 }}]
"#
    );
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    tidegate_cli::scenario::read(file.path()).unwrap()
}

fn rows(endpoints: &[&str]) -> Vec<Row> {
    let rows = endpoints.iter().zip(0..).map(|(endpoint, number)| Row {
        number,
        status: Some(200),
        attempts: 1,
        endpoints: vec![Some(format!("10.0.0.{endpoint}:80"))],
        ..Row::default()
    });
    rows.collect()
}

fn compared(balancer: &str, model: &[Row], envoy: &[Row]) -> Vec<String> {
    let (model, envoy): (Vec<&Row>, Vec<&Row>) = (model.iter().collect(), envoy.iter().collect());
    let comparison = of(&scenario(balancer), &model, &envoy);
    comparison
        .differences
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn turns_may_begin_anywhere_and_must_go_on_alike() {
    let model = rows(&["1", "2", "3", "1"]);
    assert!(compared("round_robin", &model, &rows(&["3", "1", "2", "3"])).is_empty());
    let differing = compared("round_robin", &model, &rows(&["3", "1", "2", "1"]));
    assert_eq!(
        differing,
        ["all 3: endpoints: the model `10.0.0.1:80`, Envoy `10.0.0.1:80`"]
    );
    assert_eq!(
        compared("maglev", &model, &rows(&["3", "1", "2", "3"])).len(),
        4
    );
    assert!(compared("random", &model, &rows(&["3", "3", "3", "3"])).is_empty());
}

#[test]
fn every_field_of_a_row_is_compared() {
    let model = rows(&["1"]);
    type Change = fn(&mut Row);
    let changes: [(&str, Change); 8] = [
        ("status", |row| row.status = None),
        ("flags", |row| row.flags.0 = 2),
        ("details", |row| row.details = "other".to_owned()),
        ("attempts", |row| row.attempts = 2),
        ("body_bytes", |row| row.body_bytes = 1),
        ("socket", |row| row.socket = Some(Socket::default())),
        ("endpoints", |row| row.endpoints.push(None)),
        ("request", |row| row.number = 7),
    ];
    for (field, change) in changes {
        let mut envoy = rows(&["1"]);
        envoy.iter_mut().for_each(change);
        let differing = compared("maglev", &model, &envoy);
        assert!(
            differing
                .iter()
                .all(|line| line.contains(&format!(": {field}: "))),
            "{differing:?}"
        );
        assert!(!differing.is_empty(), "{field}");
    }
}

#[test]
fn a_known_difference_is_no_fault_and_one_that_is_gone_is_one() {
    let difference = Difference {
        of: "all 3".to_owned(),
        field: "details",
        model: "a".to_owned(),
        envoy: "b".to_owned(),
    };
    let known = |of: &str, envoy: &str| Known {
        scenario: "x".to_owned(),
        of: of.to_owned(),
        field: "details".to_owned(),
        model: "*".to_owned(),
        envoy: envoy.to_owned(),
        why: "because".to_owned(),
    };
    let explained = |known: &[Known]| {
        let mut comparison = Comparison {
            scenario: "x".to_owned(),
            differences: vec![difference.clone()],
            ..Comparison::default()
        };
        differences::explain(&mut comparison, known);
        (
            comparison.holds(),
            comparison.explained.len(),
            comparison.stale.len(),
        )
    };
    assert_eq!(explained(&[known("all 3", "b")]), (true, 1, 0));
    assert_eq!(explained(&[known("*", "*")]), (true, 1, 0));
    assert_eq!(explained(&[known("all 3", "c")]), (false, 0, 1));
    assert_eq!(
        explained(&[known("*", "*"), known("all 4", "*")]),
        (false, 1, 1)
    );
}
