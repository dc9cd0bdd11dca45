//! L18: building, compiling and searching n routes, groups and names costs O(n log n), whatever their shape.

use super::*;
use tokio::time::Instant;

/// A family of configurations, one for each size.
struct Shape {
    build: fn(usize) -> Endpoints,
    /// The template or name of the `i`th endpoint.
    endpoint: fn(usize) -> String,
}

fn one() -> Quota {
    Quota::per_second(1)
}

/// Gives each template a quota of its own.
fn routed(n: usize, template: fn(usize) -> String) -> Endpoints {
    (0..n).fold(Endpoints::new(), |endpoints, i| {
        endpoints.route(&template(i), one())
    })
}

const PATHS: Shape = Shape {
    build: |n| routed(n, PATHS.endpoint),
    endpoint: |i| format!("/v1/things/t{i}"),
};

const HOSTS: Shape = Shape {
    build: |n| routed(n, HOSTS.endpoint),
    // Spread over the order in which hosts are kept.
    endpoint: |i| format!("h{:08x}.example/a", scatter(i)),
};

const PORTS: Shape = Shape {
    build: |n| routed(n, PORTS.endpoint),
    endpoint: |i| format!("h.example:{}/a", 1 + i),
};

const METHODS: Shape = Shape {
    build: |n| routed(n, METHODS.endpoint),
    endpoint: |i| format!("METHOD-{i} /a"),
};

/// Chains of 16 endpoints, each a segment deeper than the one before.
const DEEP: Shape = Shape {
    build: |n| routed(n, DEEP.endpoint),
    endpoint: |i| format!("/c{}{}", i / 16, "/a".repeat(1 + i % 16)),
};

const PARAMETERS: Shape = Shape {
    build: |n| routed(n, PARAMETERS.endpoint),
    endpoint: |i| format!("/{{x}}/t{i}/{{y}}/{{*z}}"),
};

const GROUPS: Shape = Shape {
    build: |n| {
        (0..n).fold(Endpoints::new(), |endpoints, i| {
            let template = (GROUPS.endpoint)(i);
            endpoints.group(&format!("g{i}"), one(), [&*template])
        })
    },
    endpoint: |i| format!("/t{i}"),
};

const GROUP_NAMES: Shape = Shape {
    build: GROUPS.build,
    endpoint: |i| format!("g{i}"),
};

const ONE_GROUP: Shape = Shape {
    build: |n| {
        let templates: Vec<_> = (0..n).map(ONE_GROUP.endpoint).collect();
        routed(n, ONE_GROUP.endpoint).group("g", one(), templates.iter().map(|text| &**text))
    },
    endpoint: |i| format!("/t{i}"),
};

const NAMES: Shape = Shape {
    build: |n| {
        (0..n).fold(Endpoints::new(), |endpoints, i| {
            endpoints.named(&(NAMES.endpoint)(i), one())
        })
    },
    endpoint: |i| format!("n{i}"),
};

/// A permutation of the numbers of 32 bits.
fn scatter(i: usize) -> u32 {
    u32::try_from(i).unwrap().wrapping_mul(0x9e37_79b1)
}

/// The request that belongs to an endpoint.
fn request_for(endpoint: &str) -> Request<()> {
    let plain = endpoint.replace(['{', '}', '*'], "");
    if !plain.contains('/') {
        let mut request = ask("/");
        request.extensions_mut().insert(EndpointName::new(plain));
        return request;
    }
    match plain.split_once(' ') {
        Some((method, path)) => ask(&format!("{method} {path}")),
        None if plain.starts_with('/') => ask(&plain),
        None => ask(&format!("http://{plain}")),
    }
}

/// The seconds that each part of the work took.
type Times = [f64; 6];

const PARTS: [&str; 6] = [
    "build",
    "clone",
    "compile",
    "look up",
    "look up what there is not",
    "resolve",
];

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = std::hint::black_box(work());
    (result, start.elapsed().as_secs_f64())
}

impl Shape {
    fn run(&self, n: usize) -> Times {
        // Every fourth stands for all of them, since this is a debug build.
        let endpoints: Vec<_> = (0..n).step_by(4).map(self.endpoint).collect();
        let requests: Vec<_> = endpoints.iter().map(|text| request_for(text)).collect();
        let (config, build) = timed(|| (self.build)(n));
        let ((), clone) = timed(|| {
            for _ in 0..n {
                let _ = std::hint::black_box(config.clone());
            }
        });
        let (routes, compile) = timed(|| config.compile());
        let ((), look_up) = timed(|| {
            for endpoint in &endpoints {
                let _ = std::hint::black_box(routes.lookup(endpoint).unwrap());
            }
        });
        let ((), look_up_unknown) = timed(|| {
            for i in 0..n / 4 {
                let unknown = if i % 2 == 0 { "unknown" } else { "/un/known" };
                std::hint::black_box(routes.lookup(unknown).unwrap_err());
            }
        });
        let ((), resolve) = timed(|| {
            for request in &requests {
                let _ = std::hint::black_box(routes.resolve(request));
            }
        });
        [build, clone, compile, look_up, look_up_unknown, resolve]
    }

    /// Four times as many cost less than eight times as much: sixteen times as much would be quadratic.
    #[track_caller]
    fn assert_scales(&self) {
        const FEWER: usize = 4_000;
        const MORE: usize = 4 * FEWER;
        let mut least = [f64::INFINITY; PARTS.len()];
        for _ in 0..5 {
            // Of the same length, if all is well, so that a busy machine slows down both alike. Where one of
            // them had bad luck, the next round decides.
            let fewer = [(); 4].map(|()| self.run(FEWER));
            let more = self.run(MORE);
            for (part, least) in least.iter_mut().enumerate() {
                let fewer: f64 = fewer.iter().map(|times| times[part]).sum();
                *least = least.min(4.0 * more[part] / fewer);
            }
            if least.iter().all(|&ratio| ratio < 8.0) {
                return;
            }
        }
        let found: Vec<_> = PARTS.iter().zip(least).collect();
        panic!("{MORE} cost so many times as much as {FEWER}: {found:.1?}");
    }
}

#[test]
fn many_paths_under_one_prefix_scale() {
    PATHS.assert_scales();
}

#[test]
fn many_hosts_scale() {
    HOSTS.assert_scales();
}

#[test]
fn many_ports_scale() {
    PORTS.assert_scales();
}

#[test]
fn many_methods_on_one_path_scale() {
    METHODS.assert_scales();
}

#[test]
fn deep_paths_scale() {
    DEEP.assert_scales();
}

#[test]
fn many_parameters_scale() {
    PARAMETERS.assert_scales();
}

#[test]
fn many_groups_scale() {
    GROUPS.assert_scales();
    GROUP_NAMES.assert_scales();
}

#[test]
fn many_templates_in_one_group_scale() {
    ONE_GROUP.assert_scales();
}

#[test]
fn many_names_scale() {
    NAMES.assert_scales();
}

#[test]
fn each_of_many_is_found() {
    const N: usize = 100;
    for shape in [
        PATHS, HOSTS, PORTS, METHODS, DEEP, PARAMETERS, GROUPS, ONE_GROUP, NAMES,
    ] {
        let routes = (shape.build)(N).compile();
        for endpoint in (0..N).map(shape.endpoint) {
            let looked_up = routes.lookup(&endpoint).unwrap();
            assert_eq!(*routes.spec(looked_up).name, *endpoint);
            assert_eq!(found(&routes, &request_for(&endpoint)), endpoint);
        }
    }
}

#[test]
fn beside_many_methods_there_is_room_for_all_others() {
    let routes = (METHODS.build)(100).route("/a", one()).compile();
    assert_found(&routes, "METHOD-0 /a", "METHOD-0 /a");
    assert_found(&routes, "METHOD-99 /a", "METHOD-99 /a");
    assert_found(&routes, "METHOD-100 /a", "/a");
}

/// What no clock says exactly: each template is compared with the one that it equals, and with few others.
#[test]
fn a_template_is_compared_with_few_others() {
    const N: usize = 4_096;
    for shape in [
        PATHS, HOSTS, PORTS, METHODS, DEEP, PARAMETERS, GROUPS, ONE_GROUP, NAMES,
    ] {
        steps::take();
        let routes = (shape.build)(N).compile();
        for i in 0..N {
            routes.lookup(&(shape.endpoint)(i)).unwrap();
        }
        let steps = steps::take();
        // Once for its second mention, once for the look-up, and now and then for hashes that begin alike.
        assert!(steps <= 3 * N, "{}: {steps} steps", (shape.endpoint)(0));
    }
}
