//! Host calls that fail because a test says so.

use crate::support::{self, Watch, numbers};
use tidegate_host::{HostFault, PluginConfig, Proxy, StartError, Status};

const SECOND_NS: u64 = 1_000_000_000;

/// A guest that writes twice on a request, and its host call fails as told.
fn start(fault: HostFault) -> Result<(Proxy, Watch), StartError> {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $set_shared @"k" @"one" (i32.const 0)))
             (call $say (call $set_shared @"k" @"two" (i32.const 0)))
             (i32.const 0))"#,
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .start_time_ns(0)
        .fault(fault)
        .filter(
            &module,
            PluginConfig {
                name: "writer".to_owned(),
                ..PluginConfig::default()
            },
        )
        .build()?;
    proxy.set_observer(Some(Box::new(watch.clone())));
    Ok((proxy, watch))
}

fn fault() -> HostFault {
    HostFault {
        function: "proxy_set_shared_data".to_owned(),
        plugin: None,
        nth: None,
        from_ns: 0,
        until_ns: None,
        status: Status::InternalFailure,
    }
}

#[test]
fn failing_call_does_nothing_and_answers_its_status() {
    let (mut proxy, watch) = start(fault()).unwrap();
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[10, 10]));
    assert_eq!(proxy.shared_data("").count(), 0);
}

#[test]
fn one_call_of_several_fails() {
    let nth = HostFault {
        nth: Some(3),
        status: Status::CasMismatch,
        ..fault()
    };
    let (mut proxy, watch) = start(nth).unwrap();
    for _ in 0..2 {
        support::exchange(&mut proxy);
    }
    assert_eq!(watch.take(), numbers(&[0, 0, 8, 0]));
}

#[test]
fn calls_fail_between_two_times_and_of_one_plugin() {
    let between = HostFault {
        from_ns: SECOND_NS,
        until_ns: Some(2 * SECOND_NS),
        plugin: Some("writer".to_owned()),
        ..fault()
    };
    let (mut proxy, watch) = start(between).unwrap();
    for second in 0..3 {
        proxy.advance_to(second * SECOND_NS);
        support::exchange(&mut proxy);
    }
    assert_eq!(watch.take(), numbers(&[0, 0, 10, 10, 0, 0]));
    let other = HostFault {
        plugin: Some("reader".to_owned()),
        ..fault()
    };
    let (mut proxy, watch) = start(other).unwrap();
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0]));
}

#[test]
fn function_that_cannot_fail_is_refused() {
    for function in ["proxy_set_shared", "fd_write", ""] {
        let unknown = HostFault {
            function: function.to_owned(),
            ..fault()
        };
        let refused = start(unknown).unwrap_err().to_string();
        assert!(refused.contains("there is no host function"), "{refused}");
    }
    assert!(HostFault::functions().any(|name| name == "proxy_http_call"));
}
