//! The rows: what is typed for each verb, what it must print, and which kubectl has it.

/// One line of the table. Lines run one after another in a namespace of their own, so later ones find what earlier ones made.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// The verb.
    pub(crate) verb: &'static str,
    /// What is typed. `$NS` is the namespace, of which kubectl's configuration is told by the first line.
    pub(crate) script: &'static str,
    /// What must be printed.
    pub(crate) says: &'static [&'static str],
    /// The kubectl 1.x that has it first.
    pub(crate) since: u32,
}

impl Row {
    /// The verb and what is typed.
    pub(crate) fn title(&self) -> String {
        let script: String = self.script.chars().take(72).collect();
        format!("{} ({script})", self.verb)
    }
}

const fn row(verb: &'static str, script: &'static str, says: &'static [&'static str]) -> Row {
    Row { verb, script, says, since: 0 }
}

const fn newer(verb: &'static str, script: &'static str, says: &'static [&'static str]) -> Row {
    Row { verb, script, says, since: 32 }
}

/// Files in the directory that the lines are typed in. The pods run on h3, and h1 is asked.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("web.yaml", WEB),
    ("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: green}\n"),
    ("solo.yaml", SOLO),
    ("edit.sh", "#!/bin/sh\nsed -i 's/colour: .*/colour: edited/' \"$1\"\n"),
    ("kustomization.yaml", "resources: [map.yaml]\nnamePrefix: k-\n"),
];

const WEB: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: h3}
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: bb:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap 'exit 0' TERM; echo hello from $HOSTNAME; httpd -f -p 8080 -h /www & while :; do sleep 1 & wait $!; done"]
        ports: [{containerPort: 8080, name: http}]
"#;

const SOLO: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: solo, labels: {app: solo}}
spec:
  nodeSelector: {kubernetes.io/hostname: h3}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "bb:1", imagePullPolicy: IfNotPresent, command: [sh, -c, "trap 'exit 0' TERM; while :; do echo tick; sleep 1 & wait $!; done"]}
"#;

/// All lines, in the order in which they are typed.
pub(crate) const ROWS: &[Row] = &[
    row(
        "create namespace",
        "chmod +x edit.sh && kubectl create namespace $NS && kubectl config set-context --current --namespace=$NS",
        &["namespace/", "created"],
    ),
    row("version", "kubectl version", &["Server Version"]),
    row("cluster-info", "kubectl cluster-info", &["is running at"]),
    row("api-versions", "kubectl api-versions", &["apps/v1", "v1"]),
    row("api-resources", "kubectl api-resources", &["deployments", "pods", "secrets", "configmaps"]),
    row("get --raw", "kubectl get --raw /readyz", &["ok"]),
    row("create -f", "kubectl create -f map.yaml", &["configmap/settings created"]),
    row("create configmap", "kubectl create configmap more --from-literal=a=b", &["configmap/more created"]),
    row(
        "create secret",
        "kubectl create secret generic login --from-literal=password=hunter2",
        &["secret/login created"],
    ),
    row(
        "create deployment",
        "kubectl create deployment idle --image=bb:1 --dry-run=client -o yaml | kubectl create -f - && kubectl scale deployment idle --replicas=0",
        &["deployment.apps/idle created"],
    ),
    row("create service", "kubectl create service clusterip svc --tcp=80:8080", &["service/svc created"]),
    row("create serviceaccount", "kubectl create serviceaccount robot", &["serviceaccount/robot created"]),
    row("create job", "kubectl create job once --image=bb:1 -- true", &["job.batch/once created"]),
    row(
        "create cronjob",
        "kubectl create cronjob nightly --image=bb:1 --schedule='0 3 * * *' -- true",
        &["cronjob.batch/nightly created"],
    ),
    row(
        "create --dry-run=server",
        "kubectl create configmap dry --from-literal=a=b --dry-run=server && ! kubectl get configmap dry",
        &["configmap/dry created"],
    ),
    row(
        "apply",
        "kubectl apply -f web.yaml && kubectl apply -f web.yaml",
        &["deployment.apps/web created", "deployment.apps/web unchanged"],
    ),
    row("apply -k", "kubectl apply -k .", &["configmap/k-settings created"]),
    row("rollout status", "kubectl rollout status deployment/web --timeout=50s", &["successfully rolled out"]),
    row(
        "run",
        "kubectl apply -f solo.yaml && kubectl wait --for=condition=Ready pod/solo --timeout=50s",
        &["pod/solo created", "condition met"],
    ),
    row(
        "get",
        "kubectl get deployments,pods,configmaps,secrets",
        &["deployment.apps/web", "2/2", "pod/solo", "configmap/settings", "secret/login"],
    ),
    row("get all", "kubectl get all", &["deployment.apps/web", "replicaset.apps/web-", "pod/web-", "service/svc"]),
    row("get -o wide", "kubectl get pods -o wide", &["NODE", "h3"]),
    row("get -A", "kubectl get pods -A", &["NAMESPACE", "verbs-"]),
    row("get -l", "kubectl get pods -l app=solo -o name", &["pod/solo"]),
    row(
        "get --field-selector",
        "kubectl get pods --field-selector=spec.nodeName=h3,status.phase=Running -o name",
        &["pod/solo"],
    ),
    row("get -o yaml", "kubectl get deployment web -o yaml", &["kind: Deployment", "replicas: 2"]),
    row("get -o json", "kubectl get pods -o json", &["\"kind\": \"List\"", "\"hostIP\""]),
    row("get -o jsonpath", "kubectl get configmap settings -o jsonpath='{.data.colour}'", &["green"]),
    row(
        "get -o custom-columns",
        "kubectl get pods -o custom-columns=N:.metadata.name,S:.status.phase",
        &["solo", "Running"],
    ),
    row("get --sort-by", "kubectl get pods --sort-by=.metadata.creationTimestamp", &["solo"]),
    row("get --chunk-size", "kubectl get pods --chunk-size=1", &["solo"]),
    row(
        "get -w",
        "(timeout 4 kubectl get configmaps -w & sleep 2; kubectl create configmap seen; wait) || true",
        &["seen"],
    ),
    newer(
        "get --subresource",
        "kubectl get deployment web --subresource=status -o jsonpath='{.status.readyReplicas}'",
        &["2"],
    ),
    row("describe pod", "kubectl describe pod solo", &["Node:", "h3", "Events:", "Started"]),
    row("describe node", "kubectl describe node h3", &["Non-terminated Pods", "solo"]),
    row("describe deployment", "kubectl describe deployment web", &["2 desired", "NewReplicaSet:"]),
    row("describe service", "kubectl describe service svc", &["TargetPort:"]),
    row("describe secret", "kubectl describe secret login", &["password:", "7 bytes"]),
    row("logs", "kubectl logs solo --tail=1", &["tick"]),
    row("logs -f", "(timeout 3 kubectl logs -f solo || true) | grep -c tick", &[]),
    row("logs -l", "kubectl logs -l app=web", &["hello from"]),
    row("exec", "kubectl exec solo -- cat /www/index.html", &["ok"]),
    row("exec, exit code", "kubectl exec solo -- sh -c 'exit 3'; test $? = 3", &["exit code 3"]),
    row("exec -i", "head -c 300000 /dev/zero | kubectl exec -i solo -- wc -c", &["300000"]),
    row("attach", "(timeout 4 kubectl attach solo || true) | head -2", &["tick"]),
    row(
        "cp",
        "kubectl cp map.yaml solo:/tmp/map.yaml && kubectl cp solo:/tmp/map.yaml back.yaml && cmp map.yaml back.yaml && echo same",
        &["same"],
    ),
    row(
        "port-forward",
        "kubectl port-forward deployment/web 18080:8080 & sleep 3; busybox wget -q -O - http://127.0.0.1:18080/index.html; code=$?; kill %1; exit $code",
        &["ok"],
    ),
    row(
        "label",
        "kubectl label pod solo tier=a && kubectl get pods -l tier=a -o name",
        &["pod/solo labeled", "pod/solo"],
    ),
    row("annotate", "kubectl annotate configmap settings note=x", &["annotated"]),
    row(
        "patch, strategic",
        "kubectl patch deployment web -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"main\",\"env\":[{\"name\":\"A\",\"value\":\"b\"}]}]}}}}'",
        &["patched"],
    ),
    row("patch, merge", "kubectl patch configmap settings --type=merge -p '{\"data\":{\"size\":\"1\"}}'", &["patched"]),
    row(
        "patch, JSON",
        "kubectl patch configmap settings --type=json -p '[{\"op\":\"replace\",\"path\":\"/data/size\",\"value\":\"2\"}]'",
        &["patched"],
    ),
    row(
        "edit",
        "kubectl edit configmap settings && kubectl get configmap settings -o jsonpath='{.data.colour}'",
        &["edited"],
    ),
    row("replace", "kubectl replace -f map.yaml", &["configmap/settings replaced"]),
    row("replace --force", "kubectl replace --force -f map.yaml", &["configmap/settings replaced"]),
    row("diff", "sed 's/green/blue/' map.yaml | kubectl diff -f -; test $? = 1", &["blue"]),
    row(
        "apply --server-side",
        "sed 's/green/red/;s/settings/applied/' map.yaml | kubectl apply --server-side -f -",
        &["configmap/applied serverside-applied"],
    ),
    row(
        "set image",
        "kubectl set image deployment/web main=bb:2 && kubectl rollout status deployment/web --timeout=50s",
        &["image updated", "successfully rolled out"],
    ),
    row("set env", "kubectl set env deployment/web B=c", &["env updated"]),
    row("set resources", "kubectl set resources deployment/web --requests=cpu=10m", &["resource requirements updated"]),
    row("rollout history", "kubectl rollout history deployment/web", &["REVISION"]),
    row("rollout undo", "kubectl rollout undo deployment/web", &["rolled back"]),
    row(
        "rollout restart",
        "kubectl rollout restart deployment/web && kubectl rollout status deployment/web --timeout=50s",
        &["restarted", "successfully rolled out"],
    ),
    row(
        "rollout pause, resume",
        "kubectl rollout pause deployment/web && kubectl rollout resume deployment/web",
        &["paused", "resumed"],
    ),
    row(
        "scale",
        "kubectl scale deployment web --replicas=1 && kubectl rollout status deployment/web --timeout=50s",
        &["scaled"],
    ),
    row("autoscale", "kubectl autoscale deployment web --min=1 --max=3", &["autoscaled"]),
    row(
        "expose",
        "kubectl expose deployment web --port=80 --target-port=8080 --name=front",
        &["service/front exposed"],
    ),
    row("wait", "kubectl wait --for=condition=Available deployment/web --timeout=50s", &["condition met"]),
    newer(
        "wait --for=jsonpath",
        "kubectl wait --for=jsonpath='{.status.phase}'=Running pod/solo --timeout=50s",
        &["condition met"],
    ),
    row("get events", "kubectl get events", &["Started"]),
    newer("events", "kubectl events --for pod/solo", &["Started"]),
    row("explain", "kubectl explain deployment.spec.replicas", &["replicas"]),
    row("auth can-i", "kubectl auth can-i create deployments", &["yes"]),
    row("auth can-i --list", "kubectl auth can-i --list", &["Resources"]),
    newer("auth whoami", "kubectl auth whoami", &["Username"]),
    row("top node", "kubectl top node && kubectl top node h3 --no-headers", &["CPU(cores)", "h1", "h3", "Mi"]),
    row("top pod", "kubectl top pod && kubectl top pod solo --containers", &["solo", "main", "Mi"]),
    row("top pod -l, -A", "kubectl top pod -A -l app=web --no-headers", &["web-", "Mi"]),
    row("taint", "kubectl taint node h2 quiet=yes:PreferNoSchedule && kubectl taint node h2 quiet-", &["tainted"]),
    row("cordon, uncordon", "kubectl cordon h2 && kubectl uncordon h2", &["cordoned", "uncordoned"]),
    row(
        "drain",
        "kubectl drain h2 --ignore-daemonsets --force --timeout=40s && kubectl uncordon h2",
        &["node/h2 cordoned", "node/h2 uncordoned"],
    ),
    newer(
        "debug",
        "kubectl debug solo --image=bb:1 -c look --target=main -- cat /proc/1/cmdline && \
         until kubectl logs solo -c look | grep -a 'echo tick'; do sleep 1; done",
        &["echo tick"],
    ),
    newer(
        "debug -i",
        "echo hi | kubectl debug -i solo --image=bb:1 -- sh -c 'read x; echo got $x; sleep 1'",
        &["got hi"],
    ),
    newer(
        "debug --copy-to",
        "kubectl debug solo --copy-to=twin --share-processes --image=bb:1 -c look -- sleep 100 && \
         kubectl wait --for=condition=Ready pod/twin --timeout=50s && kubectl exec twin -c look -- cat /proc/1/cmdline",
        &["condition met", "echo tick"],
    ),
    row(
        "debug node",
        "kubectl debug node/h3 --image=bb:1 -- cat /host/etc/hostname && \
         until kubectl get pods | grep -E 'node-debugger-h3.*Completed'; do sleep 1; done",
        &["Completed"],
    ),
    row(
        "delete --cascade=foreground",
        "kubectl create deployment brief --image=bb:1 -- sh -c 'trap exit TERM; sleep 100 & wait' && \
         kubectl rollout status deployment/brief --timeout=40s && \
         kubectl delete deployment brief --cascade=foreground --timeout=50s && kubectl get pods -l app=brief",
        &["deleted", "No resources found"],
    ),
    newer("create token", "kubectl create token robot", &["eyJ"]),
    row(
        "delete",
        "kubectl delete pod solo configmap/more 2>/dev/null || kubectl delete pod/solo configmap/more",
        &["deleted"],
    ),
    row("delete -l", "kubectl delete pods -l app=web --wait=false", &["deleted"]),
    row("delete namespace", "kubectl delete namespace $NS --timeout=50s", &["deleted"]),
];
