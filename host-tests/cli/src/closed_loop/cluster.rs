//! A cluster while a scenario runs: who its endpoints are, how they are balanced, what is under way to them.

use tidegate_model::admin::{ClusterView, HostStats};
use tidegate_model::balance::{self, Balancer, Ended, Host, Hosts, Pick};
use tidegate_model::draw::Draws;
use tidegate_model::endpoint::Server;
use tidegate_model::router::{Breakers, Pool};
use tidegate_model::scenario::{self, ClusterKind, Endpoint};

/// A cluster while a scenario runs.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) kind: ClusterKind,
    pub(super) connect_timeout_ns: u64,
    /// The header that names endpoints, in lower case.
    pub(super) override_header: Option<String>,
    /// The cookie that names an endpoint.
    pub(super) session_cookie: Option<String>,
    pub(super) breakers: Breakers,
    pub(super) admin_faults: Vec<scenario::AdminFault>,
    pub(super) servers: Vec<Server>,
    pub(super) stats: Vec<HostStats>,
    hosts: Hosts,
    /// By thread: the workers, then the main thread.
    threads: Vec<PerThread>,
}

#[derive(Debug)]
struct PerThread {
    balancer: Box<dyn Balancer>,
    draws: Draws,
    /// By endpoint.
    pools: Vec<Pool>,
}

impl Cluster {
    /// Takes what a scenario says. `index` is the cluster's, `first_server` that of its first endpoint among all.
    pub(super) fn new(
        of: &scenario::Cluster,
        index: u64,
        first_server: u64,
        workers: u32,
        seed: u64,
    ) -> Self {
        let servers: Vec<Server> = (first_server..)
            .zip(of.endpoints.iter().flat_map(Endpoint::each))
            .map(|(number, endpoint)| Server::new(endpoint, seed, number))
            .collect();
        let all = of
            .endpoints
            .iter()
            .flat_map(Endpoint::each)
            .map(|endpoint| Host {
                address: endpoint.address.to_string(),
                weight: endpoint.weight,
                zone: endpoint.zone,
                health: scenario::Health::Healthy,
                active_requests: 0,
            });
        let hosts = Hosts {
            all: all.collect(),
            members: Vec::new(),
            generation: 0,
        };
        let threads = (0..=u64::from(workers)).map(|thread| {
            let mut draws = Draws::new(seed, "balancer", (index << 16) | thread);
            PerThread {
                balancer: balance::balancer(&of.balancer, of.panic_threshold.value(), &mut draws),
                draws,
                pools: vec![Pool::default(); servers.len()],
            }
        });
        let (mut override_header, mut session_cookie) = (None, None);
        match &of.balancer {
            scenario::Balancer::OverrideHost { header, .. } => {
                override_header = Some(header.to_ascii_lowercase());
            }
            scenario::Balancer::StatefulSession { cookie, .. } => {
                session_cookie = Some(cookie.clone());
            }
            _ => {}
        }
        let mut cluster = Self {
            name: of.name.clone(),
            kind: of.kind,
            connect_timeout_ns: of.connect_timeout.ns(),
            override_header,
            session_cookie,
            breakers: Breakers::new(of.circuit_breakers),
            admin_faults: of.admin_faults.clone(),
            stats: vec![HostStats::default(); servers.len()],
            threads: threads.collect(),
            servers,
            hosts,
        };
        cluster.update(0);
        cluster
    }

    /// Brings the membership up to a time. Returns whether it changed.
    pub(super) fn update(&mut self, now_ns: u64) -> bool {
        let mut members = Vec::with_capacity(self.servers.len());
        let mut has_changed = false;
        for (index, (server, host)) in self.servers.iter().zip(&mut self.hosts.all).enumerate() {
            let Some(health) = server.membership(now_ns) else {
                continue;
            };
            members.push(index);
            has_changed |= host.health != health;
            host.health = health;
        }
        has_changed |= members != self.hosts.members;
        if has_changed {
            self.hosts.members = members;
            self.hosts.generation += 1;
        }
        has_changed
    }

    /// Returns the addresses of the members.
    pub(super) fn members(&self) -> Vec<String> {
        let members = self.hosts.members.iter();
        members
            .filter_map(|index| Some(self.hosts.all.get(*index)?.address.clone()))
            .collect()
    }

    pub(super) fn address(&self, host: usize) -> &str {
        self.hosts
            .all
            .get(host)
            .map_or("", |host| host.address.as_str())
    }

    pub(super) fn pick(&mut self, thread: usize, pick: &Pick<'_>) -> Option<usize> {
        let thread = self.threads.get_mut(thread)?;
        thread.balancer.pick(&self.hosts, pick, &mut thread.draws)
    }

    /// Returns a worker's connections to an endpoint, and what bounds them.
    pub(super) fn pool(
        &mut self,
        thread: usize,
        host: usize,
    ) -> Option<(&mut Pool, &mut Breakers)> {
        let pool = self.threads.get_mut(thread)?.pools.get_mut(host)?;
        Some((pool, &mut self.breakers))
    }

    /// A request has its connection. Returns how many the endpoint has now.
    pub(super) fn on_start(&mut self, thread: usize, host: usize, now_ns: u64) -> u32 {
        if let Some(stats) = self.stats.get_mut(host) {
            stats.rq_total += 1;
        }
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.balancer.on_start(host, now_ns);
        }
        let Some(host) = self.hosts.all.get_mut(host) else {
            return 0;
        };
        host.active_requests += 1;
        host.active_requests
    }

    /// A request that had its connection is over.
    pub(super) fn on_end(&mut self, thread: usize, host: usize, ended: Ended) {
        if let Some(stats) = self.stats.get_mut(host) {
            if ended.succeeded {
                stats.rq_success += 1;
            } else {
                stats.rq_error += 1;
            }
        }
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.balancer.on_end(host, ended);
        }
        if let Some(host) = self.hosts.all.get_mut(host) {
            host.active_requests = host.active_requests.saturating_sub(1);
        }
    }

    /// Closes the idle connections to these endpoints.
    pub(super) fn close_idle(&mut self, hosts: &[bool]) {
        for thread in &mut self.threads {
            let closed = thread.pools.iter_mut().zip(hosts).filter(|(_, is)| **is);
            for (pool, _) in closed {
                pool.on_idle_closed(&mut self.breakers);
            }
        }
    }

    pub(super) fn view(&self) -> ClusterView<'_> {
        ClusterView {
            name: &self.name,
            hosts: &self.hosts,
            stats: &self.stats,
            limits: &self.breakers.limits,
        }
    }
}
