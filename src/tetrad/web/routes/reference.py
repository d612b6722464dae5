"""The REST API described: as OpenAPI for programs, and as a page for those who write them."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tetrad.web.routes.shared import page

router = APIRouter()


@router.get("/api/openapi.json")
def read_openapi(request: Request) -> dict[str, Any]:
    """This description, as OpenAPI."""
    description: dict[str, Any] = request.app.openapi()
    return description


@router.get("/api", include_in_schema=False)
def api_page(request: Request) -> HTMLResponse:
    requests = [
        {
            "method": method.upper(),
            "path": path,
            "text": operation.get("description", ""),
            "values": list_values(operation),
        }
        for path, operations in request.app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    return page(request, "api.html", requests=requests)


def list_values(operation: dict[str, Any]) -> list[str]:
    """The names of a request's values: those in its address, and `body` where it takes one."""
    names = [str(each["name"]) for each in operation.get("parameters", ())]
    return [*names, "body"] if "requestBody" in operation else names
