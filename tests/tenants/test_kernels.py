"""Jupyter's own ``/api/kernels`` in the running service."""

import httpx
import pytest

from ..conftest import Service
from ..handlers.conftest import http, new_key, nobody  # noqa: F401 - fixtures


@pytest.fixture
def root(service: Service):
    with httpx.Client(
        base_url=service.url.removesuffix("/podflare"), headers={"Authorization": f"token {service.key}"}, timeout=60
    ) as client:
        yield client


def test_templates_are_the_only_kernelspecs(root):
    assert {"python-minimal", "python-datasci"} <= root.get("/api/kernelspecs").json()["kernelspecs"].keys()
    assert "python3" not in root.get("/api/kernelspecs").json()["kernelspecs"]
    assert root.post("/api/kernels", json={"name": "python3"}).status_code == 404


def test_a_kernel_is_its_owners_alone(service, root):
    made = root.post("/api/kernels", json={"name": "python-minimal"})
    assert made.status_code == 201, made.text
    name = made.json()["id"]
    stranger = {"Authorization": f"token {new_key(service, 'kernel-stranger')}"}
    try:
        assert name in {kernel["id"] for kernel in root.get("/api/kernels").json()}
        assert root.get("/api/kernels", headers=stranger).json() == []
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")):
            answer = root.request(method, f"/api/kernels/{name}{path}", headers=stranger)
            assert answer.status_code in {404, 500}, answer.text
        assert root.get(f"/api/kernels/{name}/channels", headers=stranger).status_code in {400, 404}
        taken = root.post("/api/kernels", json={"name": "python-minimal", "id": name}, headers=stranger)
        assert taken.json().get("id") != name
        assert root.get(f"/api/kernels/{name}").status_code == 200
    finally:
        assert root.delete(f"/api/kernels/{name}").status_code == 204
