from podflare_nb import __version__


def test_health_is_ok_in_plain_text_for_everyone(nobody):
    answer = nobody.get("/v1/healthz")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_capabilities_tell_version_isolation_layers_and_models(http):
    told = http.get("/v1/capabilities").json()
    assert told["version"] == __version__
    assert told["isolation"] == "namespaces"
    assert all(layer["available"] for layer in told["layers"])
    assert {"python-minimal", "python-datasci"} <= set(told["templates"])
    assert told["default_template"] == "python-datasci"
    assert "direct" in [model["name"] for model in told["models"]["available"]]
    assert told["features"] == {"fork": True, "egress": told["network"]["internet"], "pty": True}


def test_capabilities_tell_what_sandboxes_may_reach_or_a_sentence_why_not(http, sandbox):
    network = http.get("/v1/capabilities").json()["network"]
    assert network["internet"] == (network["reason"] is None)
    assert network["default"] == network["internet"], "the operator's default is the internet, where it can be had"
    assert (network["most"], network["private"]) == (True, [])
    assert http.get(f"/v1/sandboxes/{sandbox}").json()["egress"] == network["default"]


def test_templates_are_listed_with_their_limits_and_state(http):
    listed = {template["name"]: template for template in http.get("/v1/templates").json()["templates"]}
    assert listed["python-datasci"]["default"]
    assert not listed["python-minimal"]["default"]
    assert listed["python-minimal"]["limits"]["memory_mib"] > 0
    assert listed["python-minimal"]["state"] in {"ready", "loading"}
