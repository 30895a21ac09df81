"""The interactive figures of single chapters, which need JavaScript of their own."""
import caveman


def steps_down() -> None:
    """A stone's gradient steps down a parabola, for what_you_need."""
    caveman.movable(
        {"eta": (0.05, 2.2, 0.3, 0.05, "step size"), "n": (0, 25, 6, 1, "steps")},
        """
const f = x => x * x / 2, X = x => w / 2 + x * 70, Y = x => h - 14 - f(x) * 27;
c.strokeStyle = ink(); c.lineWidth = 1.5; c.beginPath();
for (let x = -4; x <= 4; x += .05) c.lineTo(X(x), Y(x));
c.stroke(); c.strokeStyle = c.fillStyle = colors.learner; c.lineWidth = 2;
let x = -3, i = 0;
for (; ; i++) {
  c.beginPath(); c.arc(X(x), Y(x), 5, 0, 7); c.fill();
  if (i == v.n) break;
  c.beginPath(); c.moveTo(X(x), Y(x));
  x -= v.eta * x; c.lineTo(X(x), Y(x)); c.stroke(); }
return `f(x) = x²/2, from x = −3: after ${v.n} steps x = ${x.toFixed(3)}`
  + (v.eta > 2 ? ", farther with every step" : "");""",
        "A parabola and a stone's steps on it, by step size and number of steps",
    )


def soft_best() -> None:
    """Four numbers and their soft best, for 03_soft_best."""
    lines = {"hard": "hard best, max Q", "mean": "average under the rule, Σ π Q",
             "bonus": "bonus for open choices, τ H(π)", "soft": "soft best, V: the last two together"}
    body = caveman.slider("tau", -2, 1.5, 0, 0.01, "fire τ") + "".join(
        caveman.slider(f"q{i}", -5, 5, x, 0.1, f"Q(s, a{i + 1})") for i, x in enumerate((1.2, 0.5, -1, 0.8)))
    body += '<svg viewBox="0 0 400 150" role="img" aria-label="Bars: the chance of each move"></svg><table><tbody>'
    body += "".join(f'<tr><td>{v}</td><td class="n" data-k="{k}"></td></tr>' for k, v in lines.items())
    caveman.widget(body + "</tbody></table>", """
const inputs = [...box.querySelectorAll("input")];
const text = (x, y, t) => `<text x="${x}" y="${y}" text-anchor="middle" font-size="13" fill="currentColor">${t}</text>`;
function update() {
  const [tau, ...q] = inputs.map((x, i) => i ? +x.value : 10**x.value);
  inputs.forEach((x, i) => x.nextElementSibling.textContent = i ? q[i-1].toFixed(1) : tau.toPrecision(3));
  const sum = x => x.reduce((a, b) => a+b), hard = Math.max(...q), e = q.map(x => Math.exp((x-hard)/tau));
  const soft = hard + tau*Math.log(sum(e)), pi = e.map(x => x/sum(e)), mean = sum(pi.map((p, i) => p*q[i]));
  for (const [k, x] of Object.entries({hard, mean, soft, bonus: soft-mean}))
    box.querySelector(`[data-k=${k}]`).textContent = x.toFixed(3);
  box.querySelector("svg").innerHTML = pi.map((p, i) => `<rect x="${20+95*i}" y="${120-100*p}" width="70" height="${100*p}" fill="${colors.learner}"/>`
    + text(55+95*i, 114-100*p, (100*p).toFixed(1)+"%") + text(55+95*i, 138, "a"+(i+1))).join("");
}
inputs.forEach(x => x.oninput = update); update();""", label="Soft best of four numbers, with a temperature")


def best_reward() -> None:
    """The best reward against u, for 05b_the_square."""
    caveman.widget(caveman.slider("alpha", 0.05, 1, 0.5, 0.05, "α") + """<svg viewBox="0 0 400 225" role="img"
 aria-label="The best reward against u: a line that falls without end, and a curve that levels out"></svg>""", """
const input=box.querySelector("input"), grid=[...Array(101).keys()].map(i=>i/10), X=u=>30+36*u, Y=r=>50-15*r;
const text=(x,y,t,c="currentColor")=>`<text x="${x}" y="${y}" font-size="13" fill="${c}">${t}</text>`;
const curve=(f,c,dash,y,name)=>`<polyline fill="none" stroke="${c}" stroke-width="2.5" stroke-dasharray="${dash}" points="`
  +grid.filter(u=>f(u)>-11).map(u=>X(u)+","+Y(f(u)))+`"/>`+text(38,y,"●",c)+text(52,y,name+": "+f(10).toFixed(2));
input.oninput=()=>{
  const alpha=+(input.nextElementSibling.textContent=(+input.value).toFixed(2));
  box.querySelector("svg").innerHTML=`<path d="M30,5V220M30,50H395" stroke="currentColor"/>`+text(8,55,"0")+text(370,42,"u")+text(38,18,"best r")+text(38,170,"at u = 10:")
    +curve(u=>2*alpha*(1-u),colors.expert,"12 4",190,"diary pays")+curve(u=>4*alpha*(1-u)/(1+u),colors.learner,"",210,"both pay");
};
input.oninput();""", label="The best reward, with alpha to move")


def tiny_numbers() -> None:
    """The tiny example, with its numbers to move, for 06_tiny_numbers."""
    ranges = {"q0": ("Q(s1, a1)", -3, 3, 1.2, 0.1), "q1": ("Q(s1, a2)", -3, 3, 0.5, 0.1), "q2": ("Q(s2, a1)", -3, 3, 0.3, 0.1),
              "q3": ("Q(s2, a2)", -3, 3, 0.8, 0.1), "gamma": ("γ", 0, 0.99, 0.9, 0.01), "alpha": ("α", 0.05, 5, 0.5, 0.05), "eta": ("η", 0.01, 1, 0.1, 0.01)}
    shown = {"v1": "V(s1)", "v2": "V(s2)", "delta": "δ", "p": "π(a1|s1)", "on": "loss, online-style", "off": "loss, offline"}
    caveman.widget("".join(caveman.slider(k, *r, label) for k, (label, *r) in ranges.items()) + """<div class="cave-row">
<button type="button">One night</button><button type="button">100 nights</button><button type="button">Back</button><output>night 0</output></div><table><tbody>"""
        + "".join(f'<tr><td>{v}</td><td class="n" data-k="{k}"></td></tr>' for k, v in shown.items()) + "</tbody></table>", """
const inputs=[...box.querySelectorAll("input")], buttons=box.querySelectorAll("button"), lse=(a,b)=>Math.max(a,b)+Math.log1p(Math.exp(-Math.abs(a-b)));
let Q=inputs.slice(0,4).map(x=>+x.value), night=0;
function look() {
  const [gamma,alpha,eta]=inputs.slice(4).map(x=>+x.value), c=1/(4*alpha), v1=lse(Q[0],Q[1]), v2=lse(Q[2],Q[3]);
  const delta=Q[0]-gamma*v2, p=Math.exp(Q[0]-v1), w=-2*c*delta*gamma, square=c*delta*delta;
  return {v1, v2, delta, p, on:square-delta, off:v1-Q[0]+square, eta, slopes:[p-1+2*c*delta,1-p,w*Math.exp(Q[2]-v2),w*Math.exp(Q[3]-v2)]};
}
function show() {
  const now=look();
  box.querySelectorAll("[data-k]").forEach(x=>x.textContent=isFinite(now.off)?now[x.dataset.k].toFixed(3):"exploded");
  inputs.forEach((x,i)=>{ if (i<4) x.value=Q[i]; x.nextElementSibling.textContent=(i<4?Q[i]:+x.value).toFixed(2); });
  box.querySelector(".cave-row output").textContent="night "+night;
}
function learn(n) { for (; n--; night++) { const now=look(); Q=Q.map((q,i)=>q-now.eta*now.slopes[i]); } show(); }
inputs.forEach((x,i)=>x.oninput=()=>{ if (i<4) { Q[i]=+x.value; night=0; } show(); });
buttons[0].onclick=()=>learn(1); buttons[1].onclick=()=>learn(100);
buttons[2].onclick=()=>{ inputs.forEach(x=>x.value=x.defaultValue); Q=inputs.slice(0,4).map(x=>+x.value); night=0; show(); };
show();""", label="The tiny example, with its numbers to move",
        caption="Grok's four numbers and his settings. A night is one update by the offline loss.")
