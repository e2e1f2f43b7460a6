"""A model served from a container: files of Compose, Kubernetes and Podman's Quadlet.

All three do the same: the image of olm pulls the model into a volume, once, and then serves. Inside
of a container the daemon listens to all, without a key; so the port is published on this machine's
loopback only, and a network policy of Kubernetes lets in who carries a label. A text in quotes is
a string of JSON, which is one of YAML too.
"""

import json

from olmkit.cli.deploying.deployment import Deployment

HOME = "/var/lib/olm"
"""Where the image keeps models and settings."""
PORT = 11434
"""Where the image listens."""


def compose(deployment: Deployment) -> str:
    """A Compose file.

    Source: https://github.com/compose-spec/compose-spec/blob/main/spec.md
    """
    unit, image, model = map(json.dumps, (deployment.unit, deployment.image, deployment.model))
    return f"""name: {unit}
services:
  pull:
    image: {image}
    command: ["pull", {model}]
    volumes: ["models:{HOME}"]
  serve:
    image: {image}
    command: ["serve", "--host", "0.0.0.0:{PORT}"]
    environment: {{OLM_INSECURE: "1"}}  # the port below is this machine's alone
    ports: ["127.0.0.1:{deployment.port}:{PORT}"]
    volumes: ["models:{HOME}"]
    restart: unless-stopped
    depends_on:
      pull:
        condition: service_completed_successfully
volumes:
  models: {{}}
"""


def kubernetes(deployment: Deployment) -> str:
    """A claim on storage, a deployment, a service and a network policy of Kubernetes.

    Source: https://kubernetes.io/docs/reference/kubernetes-api/
    """
    unit, image, model = map(json.dumps, (deployment.unit, deployment.image, deployment.model))
    return f"""apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {unit}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 50Gi
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {unit}
spec:
  replicas: 1
  strategy:
    type: Recreate
  selector:
    matchLabels: {{app: {unit}}}
  template:
    metadata:
      labels: {{app: {unit}}}
    spec:
      securityContext:
        fsGroup: 999
      initContainers:
        - name: pull
          image: {image}
          args: ["pull", {model}]
          volumeMounts:
            - {{name: models, mountPath: {HOME}}}
      containers:
        - name: serve
          image: {image}
          args: ["serve", "--host", "0.0.0.0:{PORT}"]
          env:
            - {{name: OLM_INSECURE, value: "1"}}  # the policy below says who gets here
          ports:
            - {{name: http, containerPort: {PORT}}}
          startupProbe:
            httpGet: {{path: /readyz, port: http}}
            failureThreshold: 30
            periodSeconds: 2
          readinessProbe:
            httpGet: {{path: /readyz, port: http}}
          livenessProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 30
          securityContext:
            allowPrivilegeEscalation: false
          volumeMounts:
            - {{name: models, mountPath: {HOME}}}
      volumes:
        - name: models
          persistentVolumeClaim:
            claimName: {unit}
---
apiVersion: v1
kind: Service
metadata:
  name: {unit}
spec:
  selector: {{app: {unit}}}
  ports:
    - {{name: http, port: {PORT}, targetPort: http}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {unit}
spec:
  podSelector:
    matchLabels: {{app: {unit}}}
  ingress:
    - from:
        - podSelector:
            matchLabels: {{olm-client: {unit}}}
      ports:
        - port: http
"""


def quadlet(deployment: Deployment) -> str:
    """A `.container` unit of Podman's Quadlet, to be kept as `UNIT.container`.

    The model is pulled by the same image before the container starts.
    Source: podman-systemd.unit(5).
    """
    volume = f"{deployment.unit}:{HOME}"
    image, model = (text.replace("%", "%%") for text in (deployment.image, deployment.model))
    return f"""# {deployment.unit}.container, for ~/.config/containers/systemd/
[Unit]
Description=olm serves {model}

[Container]
ContainerName={deployment.unit}
Image={image}
Exec=serve --host 0.0.0.0:{PORT}
# The port below is this machine's alone.
Environment=OLM_INSECURE=1
PublishPort=127.0.0.1:{deployment.port}:{PORT}
Volume={volume}

[Service]
ExecStartPre=podman run --rm -v {volume} {image} pull {model}
TimeoutStartSec=infinity
Restart=on-failure

[Install]
WantedBy=default.target
"""
