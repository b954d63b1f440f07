from common import *
from companion import reliability, recompute_statistics
data=load_data("mnist1d"); what=sys.argv[1:] or ['a','own','noise','b','acc']
if 'a' in what:
    print('=== 14a: one linear unit, BN, ReLU, half squared error; independent batches'); MS=(16,32,64,128,256)
    S=[];E=[];O=[]
    for s in SEEDS:
        g=torch.Generator().manual_seed(s); r=lambda *a:torch.randn(*a,generator=g,dtype=torch.float64)
        w,ws=r(20)/20**.5,r(20)/20**.5; mk=lambda n:(lambda x:(x,(x@ws).relu()+.1*r(n)))(r(n,20)); (pool,yp),(x,y)=mk(16384),mk(2048)
        m=nn.Sequential(nn.Linear(20,1,bias=False),nn.BatchNorm1d(1),nn.ReLU(),nn.Flatten(0)).double(); m[0].weight.data=w[None]
        loss=lambda f:(f-y).square().mean()/2
        row=[];own=[]
        for M in MS:
            e=excess_loss(loss,m,pool,x,M,1000,seed=s); row.append(e.mean().item()); E.append((M,row[-1],(e.std()/1000**.5).item()))
            with torch.no_grad():
                m.train(); pn=m[2](m[1](m[0](pool)))[:,0]; idx=torch.stack([torch.randperm(16384,generator=g)[:M] for _ in range(1000)])
                h=(pool@w)[idx]; z=((h-h.mean(1,keepdim=True))/(h.var(1,correction=0,keepdim=True)+1e-5).sqrt()).relu()
                d=((z-yp[idx]).square().mean(1)-(pn[idx]-yp[idx]).square().mean(1))/2; own.append(d.mean().item())
        S.append(np.polyfit(np.log(MS),np.log(row),1)[0]); O.append(own); print('   seed',s,'excess',np.round(row,5),'slope %.3f'%S[-1],'own batch',np.round(own,5))
    print('   slopes',ms(S),'in [-1.25,-.95]:',[bool(-1.25<=v<=-.95) for v in S],'| relative s.e. of an excess at most %.3f'%max(se/v for _,v,se in E)); lap('14a toy')
    print('=== 14a on a trained network: MLP 64-64, cross-entropy, mates from the training set, loss on the test set'); S=[]
    for s in SEEDS:
        m=build(lambda:mlp(40,10,64,2,BatchNorm),s); train(m,data,.1,200,100,s); loss=lambda f:cross_entropy(f,data.y_test[:500])
        row=[excess_loss(loss,m,data.x,data.x_test[:500],M,150,seed=s).mean().item() for M in MS]; S.append(np.polyfit(np.log(MS),np.log(np.maximum(row,1e-9)),1)[0]); print('   seed',s,np.round(row,5),'slope %.3f'%S[-1])
    print('   slopes',ms(S)); lap('14a net')
if 'noise' in what:
    print('=== spread of one logit and of one normalized activation, by batch size'); 
    A=[];Bq=[]
    for s in SEEDS:
        m=build(lambda:mlp(40,10,64,2,BatchNorm),s); train(m,data,.1,200,100,s); g=torch.Generator().manual_seed(s); row=[];row2=[]
        for M in (4,8,16,32,64,128,256,512):
            mates=data.x[1:][torch.randint(3999,(100,M-1),generator=g)]
            row.append(batch_noise(m,data.x[:1],mates)[:,0].std(0).mean().item()); row2.append(batch_noise(m,data.x[:1],mates,m[2])[:,0].std(0).mean().item())
        A.append(row);Bq.append(row2)
    for nm,q in (('logit',A),('normalized activation, first layer',Bq)):
        q=np.array(q); print('  ',nm,np.round(q.mean(0),4),'slope of log spread',ms([np.polyfit(np.log((16,32,64,128,256,512)),np.log(r[2:]),1)[0] for r in q]))
    lap('noise')
class NormOverAll(nn.Module): pass
def train_stats(seed,n,B,lr,steps,stats,H=128,p=0.,evalevery=None):
    """SGD on mini-batches of B of n examples; statistics from 'all' n, from the mini-batch, or from ghosts of a size."""
    x,y=data.x[:n],data.y[:n]; norm=BatchNorm if not isinstance(stats,int) else (lambda c:GhostBatchNorm(c,stats))
    def make():
        net=mlp(40,10,H,2,norm)
        if p: net=nn.Sequential(*[q for l in net for q in ([l,nn.Dropout(p)] if isinstance(l,nn.ReLU) else [l])])
        return net
    m=build(make,seed); torch.manual_seed(seed+5000); g=torch.Generator().manual_seed(seed); opt=torch.optim.SGD(m.parameters(),lr=lr,momentum=.9); per=n//B; tr=[]
    sched=torch.optim.lr_scheduler.CosineAnnealingLR(opt,steps)
    for t in range(steps):
        if t%per==0: order=torch.randperm(n,generator=g)
        idx=order[(t%per)*B:(t%per+1)*B]
        out=m(x)[idx] if stats=='all' else m(x[idx])
        l=cross_entropy(out,y[idx]); opt.zero_grad(); l.backward(); opt.step(); sched.step(); tr.append(l.item())
    m=recompute_statistics(m,x)
    with torch.no_grad(): f=m(data.x_test)
    nll=cross_entropy(f,data.y_test).item(); err=100*(f.argmax(1)!=data.y_test).float().mean().item()
    pr=f.softmax(1); conf,hit=pr.max(1).values,(f.argmax(1)==data.y_test).float(); ece=sum((conf[(conf>a)&(conf<=a+.1)]-hit[(conf>a)&(conf<=a+.1)]).sum().abs().item() for a in np.arange(0,1,.1))/len(conf)
    return nll,err,100*ece,np.mean(tr[-20:])
if 'b' in what or 'b4' in what:
    for n,B,lr,steps in (((1000,100,.1,300),) if 'b' in what else ((4000,100,.1,300),)):
        print('=== 14b: MLP 128-128,',n,'training examples, batches of',B,'rate',lr,'steps',steps,'; only where the statistics come from differs'); base=None
        for nm,st,p in (('all (noise off)','all',0),('own mini-batch','own',0),('ghosts 50',50,0),('ghosts 20',20,0),('ghosts 10',10,0),('ghosts 5',5,0),('all + dropout .1','all',.1),('all + dropout .3','all',.3)):
            if 'b4' in what and p: continue
            r=np.array([train_stats(s,n,B,lr,steps,st,p=p) for s in SEEDS]); base=r if base is None else base
            print(f'   {nm:18s} NLL {ms(r[:,0])} | less than off: {(r[:,0]<base[:,0]).tolist()} | error {ms(r[:,1])} | ECE {ms(r[:,2])} | train {ms(r[:,3])}'); lap(nm)
if 'big' in what:
    print('=== 14b, the setting of chapter 3: 4000 examples, batches of 1000, rate .5, 300 steps')
    for nm,norm in (('full 1000',BatchNorm),('ghosts 200',lambda c:GhostBatchNorm(c,200)),('ghosts 50',lambda c:GhostBatchNorm(c,50)),('ghosts 20',lambda c:GhostBatchNorm(c,20)),('ghosts 5',lambda c:GhostBatchNorm(c,5))):
        f=fit(lambda:mlp(40,10,128,2,norm),data,learning_rate=.5,steps=300,batch_size=1000,seeds=SEEDS,show_progress=False); nll=[]
        for m in f.networks:
            q=recompute_statistics(m,data.x)
            with torch.no_grad(): nll.append(cross_entropy(q(data.x_test),data.y_test).item())
        print('  ',nm,'NLL',ms(nll),'error',ms(f.test_error)); lap(nm)
if 'acc' in what:
    print('=== accumulated gradients are ghost batches'); W=[]
    for s in SEEDS:
        a=build(lambda:mlp(40,10,64,3,BatchNorm),s).double(); import copy; b=build(lambda:mlp(40,10,64,3,lambda c:GhostBatchNorm(c,25)),s).double(); x,y=data.x[:100].double(),data.y[:100]
        for xs,ys in zip(x.split(25),y.split(25)): (cross_entropy(a(xs),ys)/4).backward()
        cross_entropy(b(x),y).backward(); W.append(max(((p.grad-q.grad).norm()/q.grad.norm().clamp_min(1e-12)).item() for p,q in zip(a.parameters(),b.parameters())))
        W[-1]=max(W[-1],max((p-q).abs().max().item() for (k,p),(_,q) in zip(a.named_buffers(),b.named_buffers())))
    print('   largest relative difference of gradients and running statistics',W); lap('acc')
