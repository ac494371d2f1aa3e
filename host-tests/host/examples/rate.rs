//! Measures how many exchanges a second one core drives through a filter.
//!
//! `cargo run -p tidegate-host --example rate -- FILTER.wasm [CONFIGURATION]`
//!
//! An exchange is a request with ten headers and a response with five, about eight callbacks.
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::time::Instant;

use tidegate_host::{
    CloseReason, ClusterConfig, Engine, EngineOptions, HeaderMap, Module, PluginConfig, Proxy,
    StreamAttributes, UpstreamAttributes,
};

const EXCHANGES: u32 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a .wasm file")?;
    let configuration = arguments.next().unwrap_or_default();
    let engine = Engine::new(&EngineOptions::default())?;
    let module = Module::compile(&engine, &path, &std::fs::read(&path)?)?;
    let mut proxy = Proxy::builder(&engine)
        .cluster(ClusterConfig {
            name: "echo".to_owned(),
            endpoints: vec!["127.0.0.1:7001".to_owned()],
            ..ClusterConfig::default()
        })
        .filter(
            &module,
            PluginConfig {
                configuration: configuration.into_bytes(),
                ..PluginConfig::default()
            },
        )
        .build()?;
    exchanges(&mut proxy, EXCHANGES / 10)?;
    proxy.reset_cost();
    let begin = Instant::now();
    exchanges(&mut proxy, EXCHANGES)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{:.0} exchanges a second", f64::from(EXCHANGES) / seconds);
    for plugin in proxy.cost() {
        for callback in &plugin.callbacks {
            println!(
                "  {:<28} {:>9} calls {:>8} fuel each",
                callback.name,
                callback.calls,
                callback.fuel_mean()
            );
        }
    }
    println!("  {} bytes of memory in all VMs", proxy.memory_bytes());
    Ok(())
}

fn exchanges(proxy: &mut Proxy, count: u32) -> Result<(), Box<dyn Error>> {
    let request = HeaderMap::from([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "echo.example"),
        (":path", "/cart?item=7"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("cookie", "theme=dark; session=0123456789abcdef"),
        ("x-request-id", "b1946ac9-2492-4d23-8abc-1a2b3c4d5e6f"),
        ("content-length", "5"),
    ]);
    let response = HeaderMap::from([
        (":status", "200"),
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("server", "envoy"),
    ]);
    for _ in 0..count {
        let now_ns = proxy.now_ns();
        proxy.advance_to(now_ns.saturating_add(1_000));
        let attributes = StreamAttributes {
            connection_id: 7,
            source_address: "10.0.0.9:5123".to_owned(),
            cluster_name: "echo".to_owned(),
            ..StreamAttributes::default()
        };
        let stream = proxy.open_stream(0, attributes)?;
        proxy.request_headers(stream, request.clone(), false)?;
        proxy.request_body(stream, b"hello", true)?;
        while proxy.poll_output(stream).is_some() {}
        let upstream = UpstreamAttributes {
            address: "127.0.0.1:7001".to_owned(),
            attempt_count: 1,
            ..UpstreamAttributes::default()
        };
        proxy.set_upstream(stream, upstream)?;
        proxy.response_headers(stream, response.clone(), false)?;
        proxy.response_body(stream, b"hello", true)?;
        while proxy.poll_output(stream).is_some() {}
        proxy.close_stream(stream, CloseReason::Complete)?;
        while proxy.poll_output(stream).is_some() {}
    }
    Ok(())
}
